import pytest


def test_reports_what_is_here(lighttoken):
    outcome = lighttoken("doctor", "--json")
    assert outcome.code == 0
    assert outcome.json["ok"]
    assert "CPUExecutionProvider" in outcome.json["providers"]
    assert "dynamo" in outcome.json["exporters"]


def test_names_what_is_missing_and_how_to_get_it(lighttoken, monkeypatch: pytest.MonkeyPatch):
    from toolkit.cli import doctor

    real = doctor._version
    gone = {"optimum-onnx", "onnxruntime"}
    monkeypatch.setattr(doctor, "_version", lambda name: None if name in gone else real(name))
    outcome = lighttoken("doctor")
    assert outcome.code == 2
    assert "pip install onnxruntime" in outcome.out
    assert "pip install 'lighttoken[optimum]'" in outcome.out
    assert "optimum" not in lighttoken("doctor", "--json").json["exporters"]

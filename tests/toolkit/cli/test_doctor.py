import pytest


def test_reports_what_is_here(lighttoken):
    outcome = lighttoken("doctor", "--json")
    assert outcome.code == 0
    assert outcome.json["ok"]
    assert "CPUExecutionProvider" in outcome.json["providers"]
    assert "dynamo" in outcome.json["exporters"]
    assert outcome.json["places"]["cpu"] is None


def test_names_the_places_that_can_be_measured(
    lighttoken, monkeypatch: pytest.MonkeyPatch, tmp_path
):
    monkeypatch.setenv("LIGHTTOKEN_HOME", str(tmp_path))  # where nothing was set up
    lines = lighttoken("doctor").out.splitlines()
    assert next(line for line in lines if line.startswith("places")).split()[1].strip(",") == "cpu"
    missing = " ".join(line for line in lines if line.startswith("not here"))
    assert "arm64: no aarch64 Python is here; `lighttoken setup arm64`" in missing
    assert "cpu:" not in missing


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

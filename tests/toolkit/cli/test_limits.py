"""Numbers that would fail late are refused before any file is read: none of these is there."""

import pytest


@pytest.mark.parametrize(
    "arguments",
    [
        ("export", "m", "out", "--seed", 10**23),
        ("export", "m", "out", "--seed", "1e23"),
        ("export", "m", "out", "--seed", -1),
        ("export", "m", "out", "--batch", 10**6, "--sequence", 8),
        ("export", "m", "out", "--max-bytes", 0),
        ("export", "m", "out", "--max-bytes", 10**400),
        ("export", "m", "out", "--ratio", "nan"),
        ("export", "m", "out", "--ratio", "inf"),
        ("export", "m", "out", "--head-bytes", -5),
        ("export", "m", "out", "--heal", "t", "--heal-steps", 10**12),
        ("compress", "m", "out", "--seed", 10**23),
        ("compress", "m", "out", "--min-cosine", "nan"),
        ("plan", "m", "--ratios", "nan"),
        ("run", "m", "text", "--threads", 0),
        ("run", "m", "text", "--threads", 10**6),
        ("run", "m", "text", "--seed", -1),
        ("run", "m", "text", "--max-tokens", 0),
        ("run", "m", "text", "--top-k", -1),
        ("run", "m", "text", "--temperature", "nan"),
        ("run", "m", "text", "--top-p", "nan"),
        ("evaluate", "m", "--text", "t", "--seed", -1),
        ("evaluate", "m", "--text", "t", "--resamples", 10**11),
        ("evaluate", "m", "--text", "t", "--resamples", "1e11"),
        ("evaluate", "m", "--text", "t", "--threads", 0),
        ("evaluate", "m", "--text", "t", "--threads", 10**6),
        ("evaluate", "m", "--text", "t", "--limit", 1),
        ("profile", "m", "--threads", 0),
        ("profile", "m", "--threads", 10**5),
        ("profile", "m", "--batch", 10**5),
        ("profile", "m", "--batch", 4096, "--length", 2**20),
        ("profile", "m", "--length", 0),
        ("profile", "m", "--tokens", 0),
        ("profile", "m", "--runs", 0),
        ("profile", "m", "--repeats", 0),
        ("profile", "m", "--repeats", 10**9),
        ("inspect", "m", "--top", -1),
        ("serve", "m", "--port", 65536),
    ],
)
def test_refused_by_the_options_name(fails, arguments):
    line = fails(*arguments)
    options = [str(one)[2:].replace("-", "_") for one in arguments if str(one).startswith("--")]
    assert any(option.removesuffix("s") in line.replace("-", "_") for option in options), line
    assert "not here" not in line


@pytest.mark.parametrize("place", ["nowhere/report.html", "", "file/report.html"])
def test_a_report_that_cannot_be_written_is_refused_first(fails, tmp_path, place):
    (tmp_path / "file").write_text("")
    line = fails("profile", "m", "--report", tmp_path / place)
    assert str(tmp_path) in line


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "holds no text"), (b" \n", "holds no text"), (b"caf\xe9", "UTF-8")]
)
def test_texts_of_a_profile_are_read_first(fails, tiny_bundle, tmp_path, content, said):
    (tmp_path / "texts.txt").write_bytes(content)
    assert said in fails("profile", tiny_bundle, "--text", tmp_path / "texts.txt")


@pytest.mark.parametrize("option", ["--corpus", "--heal", "--packed", "--sample-inputs"])
def test_files_of_an_export_are_looked_at_before_its_model(fails, tmp_path, option):
    line = fails("export", tmp_path / "no-model", tmp_path / "out", option, tmp_path / "none.json")
    assert "none.json is not here" in line
    assert "no-model" not in line


@pytest.mark.parametrize("option", ["--corpus", "--heal"])
@pytest.mark.parametrize(("content", "said"), [(b"", "holds no text"), (b"caf\xe9", "UTF-8")])
def test_texts_of_an_export_too(fails, tmp_path, option, content, said):
    (tmp_path / "texts.txt").write_bytes(content)
    line = fails("export", tmp_path / "m", tmp_path / "out", option, tmp_path / "texts.txt")
    assert said in line

import pytest

from toolkit import renames
from toolkit.renames import exchange, move_new


@pytest.fixture(params=["the system's call", "without it"])
def system(request, monkeypatch):
    if request.param == "without it":
        monkeypatch.setattr(renames, "_find_call", lambda: None)
    return request.param


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("folder", [True, False])
def test_a_rename_replaces_nothing(tmp_path, folder):
    source = tmp_path / "source"
    if folder:
        source.mkdir()
    else:
        source.write_text("new")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("empty", "file", "link"):
        with pytest.raises(FileExistsError):
            move_new(source, tmp_path / name)
    assert (tmp_path / "file").read_text() == "old"
    assert (tmp_path / "link").is_symlink()
    move_new(source, tmp_path / "target")
    assert {path.name for path in tmp_path.iterdir()} == {"empty", "file", "link", "target"}


def test_two_folders_change_places(tmp_path, system):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if system == "without it":
        assert not exchange(tmp_path / "one", tmp_path / "two")
    elif exchange(tmp_path / "one", tmp_path / "two"):  # not on every file system
        assert (tmp_path / "one" / "two").exists()
        assert (tmp_path / "two" / "one").exists()


def test_other_errors_are_told(tmp_path):
    with pytest.raises(FileNotFoundError):
        move_new(tmp_path / "no", tmp_path / "out")

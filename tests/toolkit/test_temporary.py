import signal
import tempfile

import pytest

from toolkit.temporary import temporary_folder


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def interrupted(monkeypatch):
    """A signal comes when the folder is there and before tempfile has noted its name."""
    make = tempfile.mkdtemp

    def made(*arguments, **options):
        name = make(*arguments, **options)
        signal.raise_signal(signal.SIGINT)
        return name

    monkeypatch.setattr(tempfile, "mkdtemp", made)


def test_it_is_gone_after_its_block(here):
    with temporary_folder("some-", here) as folder:
        (folder / "file").write_text("x")
        assert folder.parent == here
        assert folder.name.startswith("some-")
    assert list(here.iterdir()) == []


def test_an_error_in_the_block(here):
    with pytest.raises(ValueError, match="of the block"), temporary_folder():
        raise ValueError("of the block")
    assert list(here.iterdir()) == []


@pytest.mark.usefixtures("interrupted")
def test_a_signal_while_it_is_made(here):
    with pytest.raises(KeyboardInterrupt), temporary_folder():
        pytest.fail("the block must not begin")
    assert list(here.iterdir()) == []

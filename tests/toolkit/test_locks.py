import subprocess
import sys
from pathlib import Path

import pytest

from toolkit.errors import InputError
from toolkit.locks import only_one

HOLD = """
import sys
from pathlib import Path
from toolkit.locks import only_one
with only_one(Path(sys.argv[1]), "no"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_another_process_is_refused_until_the_first_is_gone(tmp_path: Path):
    path = tmp_path / "lock"
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="wait for it"), only_one(path, "wait for it"):
            pass
    finally:
        other.kill()
        other.communicate()
    with only_one(path, "wait for it"):
        assert path.is_file()
    with only_one(path, "wait for it"):  # what stays is no lock
        pass


def test_a_link_is_not_followed(tmp_path: Path):
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="lock"), only_one(tmp_path / "lock", "no"):
        pass
    assert not (tmp_path / "elsewhere").exists()

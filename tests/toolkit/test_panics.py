import base64
import json
import os

import pytest
from tokenizers import Tokenizer

from toolkit.panics import panics_raised

DAMAGED = {
    "version": "1.0",
    "normalizer": {
        "type": "Precompiled",
        "precompiled_charsmap": base64.b64encode(b"\xff" * 3).decode(),
    },
    "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"},
}


def test_a_panic_becomes_an_exception_of_one_line(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(DAMAGED))
    with pytest.raises(BaseException) as bare:  # noqa: PT011 (it has no type to import)
        Tokenizer.from_file(str(path)).encode("a")
    assert type(bare.value).__name__ == "PanicException"
    with pytest.raises(RuntimeError) as caught, panics_raised():
        Tokenizer.from_file(str(path)).encode("a")
    assert "\n" not in str(caught.value)


def test_all_else_passes():
    with pytest.raises(KeyboardInterrupt), panics_raised():
        raise KeyboardInterrupt
    with panics_raised():
        pass


def test_what_rust_writes_is_held_back_and_nothing_else(capfd):
    with pytest.raises(RuntimeError), panics_raised():
        Tokenizer.from_str(json.dumps(DAMAGED)).encode("a")
    assert capfd.readouterr().err == ""
    with panics_raised(), panics_raised():
        os.write(2, b"a warning\n")
    with pytest.raises(ZeroDivisionError), panics_raised():
        print(1 / os.write(2, b"another\n") / 0)
    os.write(2, b"later\n")
    assert capfd.readouterr().err == "a warning\nanother\nlater\n"


def test_stderr_may_be_closed():
    kept = os.dup(2)
    os.close(2)
    try:
        with panics_raised():
            pass
    finally:
        os.dup2(kept, 2)
        os.close(kept)

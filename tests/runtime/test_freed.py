"""What a load freed goes back to the system, where glibc holds it."""

import platform
import sys
from pathlib import Path

import numpy as np
import pytest

from runtime import freed, session
from runtime.freed import give_back


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator alone")
def test_freed_memory_is_given_back():
    # Blocks that glibc takes from its heap, below one that stays.
    blocks = [np.ones(12_000) for _ in range(2_000)]
    last = np.ones(12_000)
    full = resident()
    del blocks
    give_back()
    assert resident() < full - 100e6
    assert last.all()


def test_elsewhere_nothing_happens(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    assert give_back() is False
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(freed.ctypes, "CDLL", lambda name: object())
    assert give_back() is False


@pytest.mark.parametrize(("body", "calls"), [("trellis4", 1), ("trellis", 1), ("int8", 0)])
def test_a_session_gives_back_what_decoding_took(
    tiny_model, quick, tmp_path, monkeypatch, body, calls
):
    from exporters import export

    sizes = {"vocab_size": 4000, "hidden_size": 32, "intermediate_size": 512}
    tiny_model("BertModel", **sizes).save_pretrained(tmp_path / "encoder")
    most = {"max_model_bytes": 170_000} if body == "trellis" else {}
    options = quick(weights=body, **most)
    export(str(tmp_path / "encoder"), tmp_path / "out", options=options)
    seen = []
    monkeypatch.setattr(session, "give_back", lambda: seen.append(1))
    session.open_session(tmp_path / "out")
    assert len(seen) == calls

"""Recordings: one channel at the wanted rate."""

import numpy as np
import pytest

from toolkit.audio import read_audio
from toolkit.errors import InputError

soundfile = pytest.importorskip("soundfile")


def tone(rate, hertz=440):
    return np.sin(2 * np.pi * hertz * np.arange(rate) / rate)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_a_tone_stays_a_tone(tmp_path, rate, subtype):
    soundfile.write(tmp_path / "a.wav", tone(rate), rate, subtype=subtype)
    found = read_audio(tmp_path / "a.wav", 16000)
    assert (found.dtype, found.shape) == (np.float32, (16000,))
    middle = slice(1000, 15000)  # filters ring at the ends
    np.testing.assert_allclose(found[middle], tone(16000)[middle], atol=0.01)


def test_channels_are_averaged(tmp_path):
    both = np.stack([np.full(100, 0.5), np.full(100, 0.1)], axis=1)
    soundfile.write(tmp_path / "a.flac", both, 16000)
    np.testing.assert_allclose(read_audio(tmp_path / "a.flac", 16000), 0.3, atol=1e-4)


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "is not here"), (b"", "no recording"), (b"RIFF but no more", "no recording")],
)
def test_what_is_no_recording_is_refused(tmp_path, content, told):
    path = tmp_path / "a.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=told) as error:
        read_audio(path, 16000)
    assert "\n" not in str(error.value)


def test_silence_of_no_length_is_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(0), 16000)
    with pytest.raises(InputError, match="holds no sound"):
        read_audio(tmp_path / "a.wav", 16000)

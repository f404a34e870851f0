"""Recordings as the models of speech want them: one channel, floats, their rate."""

from math import gcd
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .errors import InputError


def read_audio(path: Path, rate: int) -> NDArray[np.float32]:
    """One channel float32 [n] in -1 .. 1 of a .wav, .flac, .ogg or .mp3 file.

    Channels are averaged; another rate is resampled.

    Args:
        path: of the file.
        rate: samples a second that are wanted.

    Raises:
        InputError: no such file, no sound, or a format that libsndfile does not read.
    """
    import soundfile
    from scipy.signal import resample_poly

    if not path.is_file():
        raise InputError(f"{path} is not here; give a recording, such as a .wav file")
    try:
        samples, own = soundfile.read(str(path), dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path} is no recording ({reason}); give a .wav file") from error
    if not len(samples):
        raise InputError(f"{path} holds no sound; record it again")
    mono = samples.mean(axis=1)
    if own != rate:
        common = gcd(own, rate)
        mono = resample_poly(mono, rate // common, own // common)
    return np.asarray(mono, np.float32)

"""Memory that a load used on its way goes back to the system."""

import ctypes
import sys


def give_back() -> bool:
    """Return freed memory to the system where glibc allocates it; whether there was any.

    onnxruntime frees what it computed while it loaded a model, and glibc keeps such memory for
    later calls of this process, which need far less.
    """
    if sys.platform != "linux":
        return False
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):  # another C library, such as musl
        return False
    trim.argtypes, trim.restype = [ctypes.c_size_t], ctypes.c_int
    return bool(trim(0))

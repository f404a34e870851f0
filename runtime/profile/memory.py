"""How much memory this process holds."""

import sys
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped,unused-ignore]

_ROLLUP = Path("/proc/self/smaps_rollup")
_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Memory:
    """Bytes; None where the system does not tell.

    Attributes:
        rss: resident pages, mapped files and shared libraries included.
        uss: resident pages that no other process shares.
        pss: like rss, a shared page divided by the processes that share it.
        anonymous: resident pages that stand for no file: what the system cannot drop and read
            again. A memory-mapped weight file counts in the others, not here.
    """

    rss: int
    uss: int | None = None
    pss: int | None = None
    anonymous: int | None = None


def snapshot() -> Memory:
    """Measure now."""
    rollup = _kilobytes(_ROLLUP)
    # Walks the page tables, so exact; /proc/self/status may lag by some pages a core.
    if {"Rss", "Pss", "Private_Clean", "Private_Dirty", "Anonymous"} <= rollup.keys():
        return Memory(
            rss=rollup["Rss"],
            uss=rollup["Private_Clean"] + rollup["Private_Dirty"],
            pss=rollup["Pss"],
            anonymous=rollup["Anonymous"],
        )
    process = psutil.Process()
    try:
        full = process.memory_full_info()
    except psutil.AccessDenied:
        return Memory(process.memory_info().rss)
    return Memory(full.rss, getattr(full, "uss", None), getattr(full, "pss", None))


def reset_peak() -> None:
    """Start :func:`peak_rss` anew, where the system can."""
    try:
        _CLEAR_REFS.write_text("5")
    except OSError:
        return  # not Linux, or not permitted: the peak then counts from the process's start


def peak_rss() -> int | None:
    """The most bytes of RSS so far; None where the system does not tell."""
    high_water = _kilobytes(_STATUS).get("VmHWM")
    if high_water is not None:
        return high_water
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource  # Unix only

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _kilobytes(path: Path) -> dict[str, int]:
    """The «Name: 12 kB» lines of a /proc file, in bytes; empty if there is no such file."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    fields = [line.split() for line in lines if line.endswith(" kB")]
    return {field[0].rstrip(":"): int(field[1]) * 1024 for field in fields if len(field) == 3}

"""How much memory this process holds, and as what."""

import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

_SMAPS = Path("/proc/self/smaps")
_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Memory:
    """Bytes; None where the system does not tell.

    Attributes:
        rss: resident pages, mapped files and shared libraries included; the sum of the last three.
        uss: resident pages that no other process shares.
        pss: like rss, a shared page divided by the processes that share it.
        anonymous: resident pages that stand for no file: what the system cannot drop and read
            again.
        mapped: resident pages of the files asked for: a model's weights, as they lie on disk.
        library: resident pages of every other file: code of libraries, the interpreter.
    """

    rss: int
    uss: int | None = None
    pss: int | None = None
    anonymous: int | None = None
    mapped: int | None = None
    library: int | None = None

    @property
    def own(self) -> int | None:
        """Resident pages without ``library``: what a model brings. A model also touches pages of
        the runtime's code that were not touched before; those are in ``rss`` alone."""
        return None if self.library is None else self.rss - self.library


def snapshot(files: Collection[str] = ()) -> Memory:
    """Measure now; ``files`` are absolute paths, their pages count as ``mapped``.

    Walks the page tables (``/proc/self/smaps``), so exact; the counters of ``/proc/self/status``
    may lag by some pages a core. Elsewhere than on Linux by psutil, if that is here.

    Raises:
        OSError: the system tells nothing.
    """
    total = dict.fromkeys(("Rss", "Pss", "Private_Clean", "Private_Dirty", "Anonymous"), 0)
    mapped = 0
    ours = False
    try:
        with _SMAPS.open(errors="replace") as lines:  # line by line: all at once would be counted
            for line in lines:
                name, _, rest = line.partition(":")
                if name in total:
                    size = 1024 * int(rest.split()[0])
                    total[name] += size
                    if ours and name == "Rss":
                        mapped += size
                    elif ours and name == "Anonymous":
                        mapped -= size  # written to, so no longer the file's
                elif "-" in name and " " in name:  # the head of a mapping: range, rights ... path
                    ours = line[line.find("/") :].rstrip() in files
    except OSError:
        return _elsewhere()
    rss, anonymous = total["Rss"], total["Anonymous"]
    return Memory(
        rss=rss,
        uss=total["Private_Clean"] + total["Private_Dirty"],
        pss=total["Pss"],
        anonymous=anonymous,
        mapped=mapped,
        library=rss - anonymous - mapped,
    )


def reset_peak() -> None:
    """Start :func:`peak_rss` anew, where the system can."""
    try:
        _CLEAR_REFS.write_text("5")
    except OSError:
        return  # not Linux, or not permitted: the peak then counts from the process's start


def peak_rss() -> int | None:
    """The most bytes of RSS so far; None where the system does not tell."""
    try:
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    if sys.platform == "win32":
        import psutil  # type: ignore[import-untyped,unused-ignore]

        return int(psutil.Process().memory_info().peak_wset)
    import resource  # Unix only

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _elsewhere() -> Memory:
    try:
        import psutil
    except ImportError as error:
        raise OSError("no /proc and no psutil, so memory cannot be read") from error
    process = psutil.Process()
    try:
        full = process.memory_full_info()
    except psutil.AccessDenied:
        return Memory(process.memory_info().rss)
    return Memory(full.rss, getattr(full, "uss", None), getattr(full, "pss", None))

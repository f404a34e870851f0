"""A process's memory over time, from samples and marks of one clock."""

from collections.abc import Sequence

from .report import Timeline

_POINTS = 240


def timeline(
    samples: Sequence[tuple[float, int]], marks: Sequence[tuple[float, str]]
) -> Timeline | None:
    """From the mark ``before`` to the last one, above what was resident at it; None without it.

    Of each of equal spans of time the sample of most bytes is kept, so that no peak is lost.
    """
    starts = [at for at, stage in marks if stage == "before"]
    if not starts or not samples:
        return None
    start, end = starts[0], marks[-1][0]
    at_start = [size for at, size in samples if at <= start]
    within = [(1e3 * (at - start), size) for at, size in samples if start <= at <= end]
    if not at_start or not within:
        return None
    bare = at_start[-1]
    span = within[-1][0] / _POINTS or 1.0
    kept: dict[int, tuple[float, int]] = {}
    for at, size in within:
        slot = int(at / span)
        if slot not in kept or size > kept[slot][1]:
            kept[slot] = (at, size)
    return Timeline(
        tuple((round(at, 2), float(size - bare)) for at, size in kept.values()),
        tuple((round(1e3 * (at - start), 2), stage) for at, stage in marks[1:]),
    )

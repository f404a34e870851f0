"""One function over many items on all cores, each item on one thread from beginning to end."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_on_cores(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """What ``work`` makes of each of ``items``, in order.

    For work of many small operations of torch, which are not worth splitting one by one.
    """
    import torch

    threads = torch.get_num_threads()
    if threads == 1 or len(items) <= 1:
        yield from map(work, items)
        return
    try:
        # OpenMP keeps a number of threads for each thread, so the workers have to be told.
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from pool.map(work, items)
    finally:
        torch.set_num_threads(threads)

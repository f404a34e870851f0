"""One function over many items: in this process, in others, or on other machines, by joblib.

What ends the caller early (Ctrl-C, SIGTERM, an error) ends workers on this machine too, and leaves
no file of theirs in the temporary folder.
"""

import logging
import os
import shutil
import signal
import tempfile
import threading
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from .errors import InputError, MissingDependencyError
from .processes import end_with_parent
from .temporary import temporary_folder

BACKENDS = ("loky", "dask", "ray")
_PACKAGES = {"dask": "dask[distributed]", "ray": "ray"}
_ANSWER_S = 20  # in which a scheduler has to answer

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Workers:
    """Who does the work.

    Attributes:
        count: calls at a time; 1 for this process alone, where the backend is loky.
        backend: of joblib: loky and threading for this machine, dask and ray for several.
        scheduler: address of a dask scheduler or a ray cluster that is there; None for one that is
            started on this machine, and ends with the work.

    Raises:
        InputError: no worker, or a scheduler of a backend that has none.
    """

    count: int = 1
    backend: str = "loky"
    scheduler: str | None = None

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InputError(f"workers must be at least 1, got {self.count}")
        if self.scheduler is not None and self.backend not in _PACKAGES:
            raise InputError(
                f"scheduler {self.scheduler!r} is for dask and ray, not for {self.backend}; leave "
                "it out, or choose one of these backends"
            )

    @property
    def here(self) -> bool:
        """Whether all of them are this process."""
        return self.count == 1 and self.backend == "loky"


def run_jobs(
    function: Callable[..., Result],
    items: Sequence[Item],
    workers: Workers,
    *,
    shared: tuple[Any, ...] = (),
    died: Callable[[Item], Result] | None = None,
) -> Generator[Result, None, None]:
    """``function(item, *shared)`` of each item, in the order in which they are done.

    With ray, which hands back no results one by one, they come in groups of as many as there are
    workers.

    Args:
        function: one of a module, as it goes to other processes.
        items: what differs from call to call.
        workers: see :class:`Workers`.
        shared: what every call takes too.
        died: with loky, the result of an item at which a worker died, as of lack of memory; the
            others go on. None raises joblib's error.

    Raises:
        MissingDependencyError: the backend is not installed, here or where the workers are.
        InputError: no scheduler answers at the address.
    """
    if workers.here:
        yield from (function(item, *shared) for item in items)
        return
    _check_installed(workers.backend)
    # Nothing is imported from the current folder: a joblib.py of anyone may lie there.
    with _environment(PYTHONSAFEPATH="1"), _cluster(workers):
        if workers.backend == "loky":
            yield from _in_processes(function, items, workers, shared, died)
        else:
            try:
                yield from _by_joblib(function, items, workers, shared)
            except ModuleNotFoundError as error:
                raise MissingDependencyError(
                    f"the workers of {workers.backend} have no {error.name}; install there what "
                    "is installed here, lighttoken too"
                ) from error


def _by_joblib(
    function: Callable[..., Result],
    items: Sequence[Item],
    workers: Workers,
    shared: tuple[Any, ...],
    **settings: Any,
) -> Iterator[Result]:
    from joblib import Parallel, delayed, parallel_config

    def parallel(some: Sequence[Item], **how: Any) -> Any:
        return Parallel(batch_size=1, **how)(delayed(function)(item, *shared) for item in some)

    with parallel_config(backend=workers.backend, n_jobs=workers.count, **settings):
        if workers.backend == "ray":
            for start in range(0, len(items), workers.count):
                yield from parallel(items[start : start + workers.count])
            return
        results = parallel(items, return_as="generator_unordered")
        try:
            for result in results:  # noqa: UP028, as `yield from` closes them before what follows
                yield result
        finally:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that calls are ended which still run
                results.close()


def _in_processes(
    function: Callable[..., Result],
    items: Sequence[Item],
    workers: Workers,
    shared: tuple[Any, ...],
    died: Callable[[Item], Result] | None,
) -> Iterator[Result]:
    """With loky. A folder of each call says which ones ran when a worker died."""
    from joblib.externals.loky import get_reusable_executor
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    waiting = dict(enumerate(items))
    with temporary_folder() as places:
        call = partial(_in_a_place, function, places)

        def run(numbers: list[int]) -> Iterator[Result]:
            jobs = [(number, items[number]) for number in numbers]
            for number, result in _by_joblib(call, jobs, workers, shared, initializer=_settle):
                del waiting[number]
                yield result

        try:
            while waiting:
                try:
                    yield from run(list(waiting))
                except TerminatedWorkerError:
                    suspects = [one for one in waiting if (places / str(one)).exists()]
                    if died is None or not suspects:
                        raise
                    for one in suspects:  # each alone, so that it is known which it was
                        shutil.rmtree(places / str(one), ignore_errors=True)
                        try:
                            yield from run([one])
                        except TerminatedWorkerError:
                            del waiting[one]
                            yield died(items[one])
        finally:
            get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)


def _in_a_place(
    function: Callable[..., Result], places: Path, job: tuple[int, Any], *shared: Any
) -> tuple[int, Result]:
    """A call whose temporary files have a folder of their own, which the caller removes at last."""
    number, item = job
    place = places / str(number)
    place.mkdir(exist_ok=True)
    before, tempfile.tempdir = tempfile.tempdir, str(place)
    try:
        with _environment(TMPDIR=str(place)):
            return number, function(item, *shared)
    finally:
        tempfile.tempdir = before
        shutil.rmtree(place, ignore_errors=True)


def _settle() -> None:
    """In a new worker: Ctrl-C is for the caller, with whom this process ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Variables that processes which start meanwhile have."""
    before = {name: os.environ.get(name) for name in values}
    os.environ |= values
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _check_installed(backend: str) -> None:
    """What a backend needs; joblib alone says of dask that it is no backend it knows."""
    try:
        if backend == "dask":
            import distributed  # noqa: F401
        elif backend == "ray":
            import ray.util.joblib  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"backend {backend} is not installed; pip install '{_PACKAGES[backend]}' or use "
            "--backend loky"
        ) from error


@contextmanager
def _cluster(workers: Workers) -> Iterator[None]:
    """What a backend wants to be there before joblib starts."""
    start = {"dask": _dask, "ray": _ray}.get(workers.backend)
    if start is None:
        yield
        return
    # Workers that are started here may be killed, and leave then what is in their own.
    with temporary_folder() as place, _environment(TMPDIR=str(place)), start(workers):
        yield


@contextmanager
def _dask(workers: Workers) -> Iterator[None]:
    """A client, which joblib finds by itself: this process's own, if it has one."""
    import dask
    from distributed import Client, get_client

    if workers.scheduler is None:
        try:
            get_client()
        except ValueError:
            pass
        else:
            yield
            return
        dask.config.set({"temporary-directory": os.environ["TMPDIR"]})
        with _deaf():
            client = Client(
                n_workers=workers.count,
                threads_per_worker=1,
                processes=True,
                dashboard_address=None,
                silence_logs=logging.CRITICAL,
            )
    else:
        try:
            client = Client(workers.scheduler, timeout=_ANSWER_S)
        except (OSError, ValueError) as error:
            raise _no_answer(workers) from error
    with client:
        yield


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes that start meanwhile do not hear Ctrl-C, which is for this one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _ray(workers: Workers) -> Iterator[None]:
    import ray
    from ray.util.joblib import register_ray

    ours = not ray.is_initialized()
    if ours:
        local = {} if workers.scheduler else {"num_cpus": workers.count}
        try:
            ray.init(
                address=workers.scheduler or "local",
                include_dashboard=None if workers.scheduler else False,
                logging_level="error",
                log_to_driver=False,
                **local,
            )
        except (ConnectionError, ValueError) as error:
            raise _no_answer(workers) from error
    try:
        register_ray()
        yield
    finally:
        if ours:
            ray.shutdown()


def _no_answer(workers: Workers) -> InputError:
    return InputError(
        f"no {workers.backend} scheduler answers at {workers.scheduler}; check the address, and "
        "that the scheduler runs"
    )

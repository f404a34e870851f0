"""How far apart outputs may be, and the errors where they are farther or nothing runs."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import ml_dtypes
import onnx_ir as ir

from toolkit.graph.tables import TableUse

from .differences import CheckError

# Largest difference allowed, times the largest output: float additions in another order. Shorter
# floats may round to a neighbour, so that they get some units in the last place.
TOLERANCE = 1e-4
LAST_PLACES = 4
# onnxruntime's words, and the operator in them.
_NO_KERNEL = re.compile(r"Could not find an implementation for (?P<what>\w+\(\d+\))")
_NO_OPERATOR = re.compile(r"(?P<what>[\w.]+:\w+\(-?\d+\)) is not a registered function/op")
# What makes another graph of the same model.
OTHERWISE = "try --decode inline, --no-fuse or --weights fp32"


def tolerance_of(use: TableUse) -> float:
    """For the types that a table's rows are looked up in."""
    return of_types(lookup.dtype for lookup in use.lookups)


def of_types(types: Iterable[ir.DataType]) -> float:
    """The largest of :data:`TOLERANCE` and some units in the last place of each type."""
    epsilons = [float(ml_dtypes.finfo(each.numpy()).eps) for each in types]  # type: ignore[no-untyped-call]
    return max([TOLERANCE, *(LAST_PLACES * epsilon for epsilon in epsilons)])


def refuse(what: str, difference: float, limit: float, instead: str = OTHERWISE) -> None:
    """Raise CheckError where a difference is above its limit, or no number.

    ``instead``: what to try.
    """
    if not difference <= limit:
        raise CheckError(f"{what} differ by {difference:.3g}, more than {limit:.3g}; {instead}")


def not_here(error: Exception) -> str:
    """What of a model has no implementation in the CPU provider; "" of any other error.

    Read from onnxruntime's words, as it raises them through :func:`told`.
    """
    found = _NO_KERNEL.search(str(error)) or _NO_OPERATOR.search(str(error))
    return "" if found is None else found["what"]


@contextmanager
def told() -> Iterator[None]:
    """What onnxruntime raises becomes a CheckError."""
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith("onnxruntime."):
            raise
        reason = " ".join(str(error).split())[:300]
        raise CheckError(
            f"onnxruntime cannot run the model: {reason}; install a newer one, or repair the file"
        ) from error

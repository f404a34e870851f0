"""New initializers of a graph, and those that many nodes share."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import ArrayLike

from .forms import constant

_NUMBERS = "lighttoken.numbers"


def store(graph: ir.Graph, name: str, array: ArrayLike) -> ir.Value:
    """A new initializer of ``graph`` that holds ``array``."""
    value = ir.val(name, const_value=ir.tensor(array, name=name))
    graph.register_initializer(value)
    return value


def store_once(graph: ir.Graph, name: str, array: ArrayLike) -> ir.Value:
    """The initializer of ``graph`` called ``name``; a new one that holds ``array`` if none is."""
    return graph.initializers.get(name) or store(graph, name, array)


@dataclass(frozen=True)
class Stored:
    """How a file holds what an initializer was computed of.

    Attributes:
        nbytes: of all of it.
        form: for people: ``int8, Cast, Mul``.
    """

    nbytes: int
    form: str


_STORED = "lighttoken.stored"  # what is known of a value, and not written


def store_computed(graph: ir.Graph, name: str, array: ArrayLike, above: list[ir.Node]) -> ir.Value:
    """As :func:`store_once`, of what the nodes ``above`` make of constants; the last one first."""
    held = store_once(graph, name, array)
    values = {value for node in above for value in node.inputs if value is not None}
    tensors = [tensor for value in values if (tensor := constant(value)) is not None]
    if tensors:
        largest = max(tensors, key=lambda tensor: tensor.nbytes)
        made = dict.fromkeys(node.op_type for node in reversed(above))
        through = [name for name in made if name not in ("Gather", "Reshape", "Constant")]
        form = ", ".join([largest.dtype.name.lower(), *through])
        held.meta[_STORED] = Stored(sum(tensor.nbytes for tensor in tensors), form)
    return held


def stored_as(value: ir.Value) -> Stored | None:
    """How the file holds what ``value`` was computed of; None where it holds the value itself."""
    found = value.meta.get(_STORED)
    return found if isinstance(found, Stored) else None


def store_numbers(graph: ir.Graph, *numbers: int) -> ir.Value:
    """An initializer of these integers, int64 [n]; the same one whoever asks."""
    name = f"{_NUMBERS}.{'.'.join(map(str, numbers))}"
    return store_once(graph, name, np.array(numbers, np.int64))


def store_number(graph: ir.Graph, number: int) -> ir.Value:
    """An initializer of one integer, an int64 scalar; the same one whoever asks."""
    return store_once(graph, f"{_NUMBERS}.scalar.{number}", np.array(number, np.int64))

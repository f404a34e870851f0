"""New initializers of a graph, and those that many nodes share."""

import numpy as np
import onnx_ir as ir
from numpy.typing import ArrayLike

_NUMBERS = "lighttoken.numbers"


def store(graph: ir.Graph, name: str, array: ArrayLike) -> ir.Value:
    """A new initializer of ``graph`` that holds ``array``."""
    value = ir.val(name, const_value=ir.tensor(array, name=name))
    graph.register_initializer(value)
    return value


def store_once(graph: ir.Graph, name: str, array: ArrayLike) -> ir.Value:
    """The initializer of ``graph`` called ``name``; a new one that holds ``array`` if none is."""
    return graph.initializers.get(name) or store(graph, name, array)


def store_numbers(graph: ir.Graph, *numbers: int) -> ir.Value:
    """An initializer of these integers, int64 [n]; the same one whoever asks."""
    name = f"{_NUMBERS}.{'.'.join(map(str, numbers))}"
    return store_once(graph, name, np.array(numbers, np.int64))


def store_number(graph: ir.Graph, number: int) -> ir.Value:
    """An initializer of one integer, an int64 scalar; the same one whoever asks."""
    return store_once(graph, f"{_NUMBERS}.scalar.{number}", np.array(number, np.int64))

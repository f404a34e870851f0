"""A form for each weight matrix: fewest bits where the outputs feel it least.

What a matrix in int4 does to the outputs is measured, each alone. What it does in other forms
follows from how much smaller or larger its error is, and losses add up, as they do to second order.
Then Lagrange's multiplier shares bytes out between all matrices and the token table (Shoham and
Gersho, IEEE Transactions on Acoustics, Speech, and Signal Processing 36(9), 1988).
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray

from toolkit.errors import BudgetError
from toolkit.ort import cpu_session
from toolkit.progress import Progress
from toolkit.rounding import round_by_outputs
from toolkit.temporary import temporary_folder
from toolkit.trellis import TRELLISES

from ..weights.calibration import Inputs
from ..weights.products import Product, find_products
from ..weights.shrink import calibrate, nothing_left

# Squared error of the outputs of a product over that with int4, 128 weights to a scale: about what
# all-MiniLM's have, in proportion to toolkit/trellis.py.
_ERRORS = {"trellis2": 6.9, "trellis3": 2.8, "trellis4": 0.5, "int8": 0.01}
_PROBE_BITS, _PROBE_GROUP = 4, 128
_NODES = 800  # bytes of the nodes that decode a matrix
_PRICES = np.geomspace(1e-12, 1e-4, 60)  # of a byte, in relative squared error of the outputs

Weights = Mapping[str, NDArray[np.floating]]


class Mix:
    """What each weight loses in each form, and how many bytes it takes.

    Args:
        path: the model, in float32.
        kept: initializers that stay as they are.
        inputs: what to feed.
        distance: of what a session gives to what the original gives, weights being inputs too.

    Raises:
        InputError: no product has a weight to make smaller.
    """

    def __init__(
        self,
        path: Path,
        kept: frozenset[str],
        inputs: Inputs,
        distance: Callable[[ort.InferenceSession, Weights], float],
    ) -> None:
        self._path, self._inputs, self._distance = path, inputs, distance
        model = ir.load(path)
        self._products = [
            product
            for product in find_products(model, kept)
            if product.weight.name in model.graph.initializers
        ]
        if not self._products:
            raise nothing_left()
        self._more = {
            str(product.weight.name): _bytes_beside_int8(*product.shape)
            for product in self._products
        }
        self._losses: dict[str, float] = {}

    @property
    def least(self) -> int:
        """Bytes of all weights in fewest bits, less those of int8: below zero."""
        return sum(min(forms.values()) for forms in self._more.values())

    def measure(self, progress: Progress) -> None:
        """Replace one weight after the other by what int4 makes of it."""
        model = ir.load(self._path)
        values = {str(p.weight.name): p.weight.const_value.numpy() for p in self._products}  # type: ignore[union-attr]
        with temporary_folder() as folder:
            for name, array in values.items():
                weight = model.graph.initializers.pop(name)
                weight.const_value, weight.dtype = None, ir.DataType.FLOAT
                weight.shape = ir.Shape(array.shape)
                model.graph.inputs.append(weight)
            ir.save(model, folder / "fed.onnx", external_data="fed.onnx.data")
            session = cpu_session(folder / "fed.onnx")
            for name, probe in self._probes():
                self._losses[name] = self._distance(session, {**values, name: probe})
                progress(len(self._losses) / len(values), "measuring what each weight is for")

    def choose(self, table: Callable[[int], float]) -> dict[str, str]:
        """The form of each weight, by name.

        Args:
            table: what the token table loses where weights take so many bytes more than int8's;
                BudgetError where they are too many.
        """
        fewest = {
            name: min(forms, key=lambda form: forms[form]) for name, forms in self._more.items()
        }
        best = float("inf"), fewest
        forms: dict[str, str] = {}
        for price in _PRICES:
            before, forms = forms, {name: self._cheapest(name, price) for name in self._losses}
            if forms == before:  # a table's allocation takes a while
                continue
            try:
                loss = table(sum(self._more[name][form] for name, form in forms.items()))
            except BudgetError:
                continue
            loss += sum(self._losses[name] * _ERRORS[form] for name, form in forms.items())
            best = min(best, (loss, forms), key=lambda each: each[0])
        return best[1]

    def _cheapest(self, name: str, price: float) -> str:
        def cost(form: str) -> float:
            return self._losses[name] * _ERRORS[form] + price * self._more[name][form]

        return min(_ERRORS, key=cost)

    def _probes(self) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Each weight as int4 makes it, laid out as the graph has it."""
        left = {str(product.weight.name): product for product in self._products}
        for moments in calibrate(self._path, self._products, self._inputs):
            for name in [n for n, product in left.items() if product.inputs.name in moments]:
                product = left.pop(name)
                yield name, _probe(product, moments[str(product.inputs.name)])
        for name, product in left.items():
            yield name, _probe(product, None)


def _probe(product: Product, moments: NDArray[np.float64] | None) -> NDArray[np.float32]:
    rounded = round_by_outputs(
        product.matrix(), moments, bits=_PROBE_BITS, group_size=_PROBE_GROUP
    ).dense()
    return np.ascontiguousarray(rounded if product.by_rows else rounded.T)


def _bytes_beside_int8(outputs: int, inputs: int) -> dict[str, int]:
    """What each form of a matrix takes more than int8, by form."""
    whole = outputs * inputs
    more = {
        form: inputs * -(-outputs // len(steps)) + outputs + _NODES - whole
        for form, steps in TRELLISES.items()
    }
    return more | {"int8": 0}

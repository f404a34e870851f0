"""What is left beside the token table, made smaller: fp16, int8, int4 or by a trellis."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import onnx
import onnx_ir as ir
import onnx_ir.passes.common as common_passes

from toolkit.errors import InputError
from toolkit.progress import Progress
from toolkit.quiet import quiet, reason
from toolkit.rounding import GroupedWeight
from toolkit.table.grouped import GROUP_SIZES

from ..options import FEW_BITS, WEIGHTS
from ..passes.integer_products import IntegerProducts
from ..passes.quantize_products import QuantizeProducts
from ..passes.quantize_tables import QuantizeTables
from .calibration import Inputs, SecondMoments, second_moments
from .products import Product, find_products

_HEAD_GROUP = 32  # a head's errors reach the answer as they are


def shrink_weights(
    path: Path,
    work: Path,
    form: str,
    inputs: Inputs,
    *,
    kept: frozenset[str],
    heads: Callable[[ir.Model], list[Product]] | None = None,
    group_size: int = 128,
    rounded: Sequence[GroupedWeight] = (),
    forms: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Path:
    """Make all but the token tables smaller.

    - fp16: weights and activations in half precision (onnxruntime's converter); inputs and outputs
      stay what they are.
    - int8: products with weights become MatMulInteger, on rows of activations rounded as they come
      (``IntegerProducts``).
    - trellis4, trellis3, trellis2: the same, their weights stored in 4, 2.67 and 2 bits; trellis:
      each in the form that ``forms`` says.
    - int4: products with weights become MatMulNBits, rounded by what they do to outputs
      (``toolkit.rounding.round_by_outputs``); those in branches to nearest.

    With all but fp16 the other tables that are looked up (positions, types) hold bytes.

    Args:
        path: the model as exported, float32.
        work: an empty folder for files on the way and the result.
        form: one of ``WEIGHTS``.
        inputs: what to feed; products are rounded to nearest where nothing is known.
        kept: initializers that stay as they are: the tables to pack, and what heads read of them.
        heads: finds output heads to turn into MatMulNBits of 4 bits too, whatever the form.
        group_size: numbers that share a scale, with int4.
        rounded: matrices of the model that were rounded before, as training left them.
        forms: of weights by their names, for the form ``trellis``.
        progress: told how far the work is.

    Returns:
        The new model's path; ``path`` itself where there is nothing to do.

    Raises:
        InputError: an unknown form or group size, few bits for a model without float32 products,
            or fp16 for one that onnxruntime's own converter does not take.
    """
    check_weights(form, group_size)
    model = ir.load(path)
    found = [] if heads is None else heads(model)
    if found:
        QuantizeProducts(found, calibrate(path, found, inputs), group_size=_HEAD_GROUP)(model)
        common_passes.RemoveUnusedNodesPass()(model)
        path = _save(model, work, "heads")
    if form == "fp16":
        return _to_fp16(path, work)
    if form in FEW_BITS:
        model = ir.load(path)
        QuantizeTables(kept)(model)
        found = _some_products(model, kept)
        known = _known(found, rounded)
        left = [product for product in found if product not in known]
        calibration = calibrate(path, left, inputs) if left else ()
        if form == "int4":
            QuantizeProducts(found, calibration, known=known, group_size=group_size)(model)
        else:
            IntegerProducts(
                found,
                calibration,
                form=form,
                forms=forms,
                progress=progress,
            )(model)
        path = _save(model, work, form)
    return path


def has_products(path: Path, form: str, kept: frozenset[str]) -> bool:
    """Whether ``form`` would make anything of a model smaller; fp16 always does."""
    return form not in FEW_BITS or bool(find_products(ir.load(path), kept))


def _known(
    products: list[Product], rounded: Sequence[GroupedWeight]
) -> dict[Product, GroupedWeight]:
    """Which of ``rounded`` each product multiplies by: the one of equal values."""
    by_values = {weight.dense().tobytes(): weight for weight in rounded}
    known = {
        product: by_values[values]
        for product in products
        if rounded and (values := product.matrix().tobytes()) in by_values
    }
    if len(set(map(id, known.values()))) < len(by_values):
        raise InputError(
            f"{len(by_values)} matrices were trained in few bits, and the exported graph has only "
            f"{len(known)} of them as they are; export without --heal, or with --heal-train norms"
        )
    return known


def _some_products(model: ir.Model, kept: frozenset[str]) -> list[Product]:
    products = find_products(model, kept)
    if not products:
        raise nothing_left()
    return products


def nothing_left() -> InputError:
    """Weights were to become smaller, and none are there."""
    return InputError(
        "the model has no product with float32 weights left to make smaller; use --weights fp32"
    )


def calibrate(path: Path, products: list[Product], inputs: Inputs) -> Iterator[SecondMoments]:
    """Second moments of what products are fed with, where anything is known to feed."""
    if not inputs.ids_inputs:  # a model of sound or images: nothing to feed is known
        return iter(())
    # What a branch makes cannot be asked for from outside: its products are rounded to nearest.
    made = {output.name for node in ir.load(path).graph for output in node.outputs}
    widths = {
        str(product.inputs.name): product.shape[1]
        for product in products
        if product.inputs.name in made
    }
    return second_moments(path, widths, inputs)


def _to_fp16(path: Path, work: Path) -> Path:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with quiet():
        try:
            model = onnx.load(str(path), format="protobuf")
            half = convert_float_to_float16(model, keep_io_types=True)
        except Exception as error:  # whatever the converter stumbles over
            raise InputError(
                f"onnxruntime cannot turn the model into fp16 ({reason(error)}); use --weights fp32"
            ) from error
    return _save(ir.from_proto(half), work, "fp16")


def _save(model: ir.Model, work: Path, name: str) -> Path:
    ir.save(model, work / f"{name}.onnx", external_data=f"{name}.onnx.data")
    return work / f"{name}.onnx"


def check_weights(form: str, group_size: int) -> None:
    """Raise InputError for an unknown form or group size."""
    if form not in WEIGHTS:
        raise InputError(f"weights {form!r} is unknown; choose from {', '.join(WEIGHTS)}")
    if group_size not in GROUP_SIZES:
        raise InputError(
            f"a group size of {group_size} is not possible; choose from "
            f"{', '.join(map(str, GROUP_SIZES))}"
        )

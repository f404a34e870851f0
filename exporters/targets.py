"""What each target of an export needs, as data, and why."""

from dataclasses import dataclass

from toolkit.errors import InputError
from toolkit.trellis import CODED


@dataclass(frozen=True)
class Target:
    """A place where a bundle is to run.

    Attributes:
        decode: the decode graph as a "function" of the model, which a native kernel may take over,
            or "inline", for what knows no functions.
        floats: decode in floats and not in integers; the values are the same.
        head: what an output head reads that shares the table, unless one is asked for.
        step_head: the same of decoders with a cache, whose heads multiply one token at a time;
            None for ``head``.
        weights: forms of the other weights that run there.
        int32: graph inputs are int32 and not int64.
        stock: bits of a table that onnxruntime's own operators take there (``--decode stock``); ()
            where they do not run.
        quantized: look-ups of bytes stand between DequantizeLinear and QuantizeLinear.
        static: shapes are fixed, to ``--batch`` and ``--sequence``.
        fusible: onnxruntime's MultiHeadAttention runs there.
        fuse: attention becomes that node, unless something else is asked for.
        grouped: onnxruntime's GroupQueryAttention takes a mask there, since 1.21.
        optional_inputs: inputs that have a default can be given there; else they have none.
        most_texts: a larger batch gives wrong values there; None for no limit.
        why: the reasons, for people.
    """

    decode: str = "function"
    floats: bool = False
    head: str = "nbits"
    step_head: str | None = None
    weights: tuple[str, ...] = ("fp32", "fp16", "int8", "int4", *CODED)
    int32: bool = False
    stock: tuple[int, ...] = (2, 4, 8)
    quantized: bool = False
    static: bool = False
    fusible: bool = False
    fuse: bool = False
    grouped: bool = False
    optional_inputs: bool = True
    most_texts: int | None = None
    why: str = ""


TARGETS = {
    "cpu": Target(
        head="packed",
        weights=("fp32", "int8", "int4", *CODED),
        fusible=True,
        fuse=True,
        grouped=True,
        why="Integer products are the fastest standard decode, and the native kernel replaces the "
        "function where it is built. Half precision is left out: onnxruntime's CPU kernels lack "
        "it, so that weights would grow back to float32 at load.",
    ),
    "wasm": Target(
        step_head="packed",
        weights=("fp32", "int8", "int4", *CODED),
        fusible=True,
        grouped=True,
        optional_inputs=False,
        why="As the CPU, without a native kernel: custom operators cannot be loaded in a browser, "
        "and a head that walks the packed table in standard operators takes longer than 4 bits "
        "where it multiplies many tokens. Of one token, as in decoders with a cache, it takes "
        "little longer: onnxruntime-web has no kernel for 4 bits and makes all of the matrix "
        "float32 at each call. It refuses inputs that have a default, so num_logits_to_keep of a "
        "decoder has none.",
    ),
    "webgpu": Target(
        decode="inline",
        floats=True,
        weights=("fp32", "fp16", "int4"),
        fusible=True,
        optional_inputs=False,
        why="It has no MatMulInteger, so that products are in floats and int8 weights are out. "
        "Half precision needs a GPU with shader-f16. Codes stay bytes: onnxruntime-web 1.30 "
        "gathers them there, older ones on the CPU. num_logits_to_keep of a decoder has no "
        "default, as for wasm.",
    ),
    "cuda": Target(
        floats=True,
        weights=("fp32", "fp16", "int4"),
        fusible=True,
        why="MatMulInteger takes no unsigned left side there, so that decoding is in floats; "
        "int8 weights would fall back to the CPU for the same reason.",
    ),
    "xnnpack": Target(
        decode="inline",
        floats=True,
        weights=("fp32",),
        static=True,
        why="It takes float products of matrices with constants, and Softmax, of fixed shapes; "
        "everything else stays with the CPU provider, which shares the memory.",
    ),
    "qnn": Target(
        decode="inline",
        floats=True,
        weights=("fp32", "fp16"),
        int32=True,
        stock=(),
        quantized=True,
        static=True,
        most_texts=1,
        why="The HTP compiles fixed shapes and 32-bit indices, and knows neither functions nor "
        "onnxruntime's own operators. It takes look-ups of bytes where they stand between "
        "DequantizeLinear and QuantizeLinear, and then the whole model as one. One text at a "
        "time: LayerNormalization after a sum with what all texts share, such as positions, is "
        "wrong from the second text on in onnxruntime-qnn 2.7's emulator.",
    ),
    "nnapi": Target(
        decode="inline",
        floats=True,
        weights=("fp32",),
        int32=True,
        static=True,
        why="Gather takes float data and int32 indices; look-ups of bytes stay with the CPU "
        "provider, the rest is float32 of fixed shapes.",
    ),
    "coreml": Target(
        decode="inline",
        floats=True,
        weights=("fp32", "fp16"),
        static=True,
        why="Partitions need fixed shapes; Gather takes floats and int64, so that look-ups of "
        "bytes stay with the CPU provider.",
    ),
}


def find_target(name: str, weights: str) -> Target:
    """The target ``name``.

    Raises:
        InputError: there is none of this name, or ``weights`` do not run there.
    """
    if name not in TARGETS:
        raise InputError(f"target {name!r} is unknown; choose from {', '.join(TARGETS)}")
    target = TARGETS[name]
    if weights not in target.weights:
        raise InputError(
            f"weights in {weights} do not run on {name}; choose from {', '.join(target.weights)}"
        )
    return target

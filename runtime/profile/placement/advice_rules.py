"""What to do about nodes that a provider leaves to the CPU: the table behind :mod:`.advice`.

What is known of each provider is what ``docs/targets.md`` says, what bundles showed on XNNPACK, on
QNN's emulator and in browsers, and for the others onnxruntime's documents.
"""

from dataclasses import dataclass

FREE_SHAPE = "free shape"
NO_CONSTANT = "is no constant"
TOO_LARGE = "a dimension above"

_BYTES = frozenset(["uint8", "int8"])
_INTEGERS = _BYTES | {"int32", "int64", "bool"}
_INTEGER = ("MatMulInteger", "DynamicQuantizeLinear", "QLinearMatMul")
_BITS = ("BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor")
_ATTENTION = "com.microsoft::MultiHeadAttention"
_GROUPED = "com.microsoft::GroupQueryAttention"
_NBITS = "com.microsoft::MatMulNBits"
_DECODE = tuple(  # functions of further tables have a number behind the name
    f"ai.lighttoken::{name}{number}"
    for name in ("CompressedEmbedding", "CompressedHead")
    for number in ("", *range(2, 10))
)


@dataclass(frozen=True)
class Rule:
    """One line of advice.

    Attributes:
        providers: onnxruntime's names; () for all but the CPU.
        operators: those that it is about; () for all.
        line: the advice; ``{count}`` and ``{operators}`` stand for the nodes that it is about.
        types: it is about nodes that read one of these element types; empty for all.
        reason: what a known reason has to contain; empty for any.
    """

    providers: tuple[str, ...]
    operators: tuple[str, ...]
    line: str
    types: frozenset[str] = frozenset()
    reason: str = ""


_QNN, _XNNPACK = "QNNExecutionProvider", "XnnpackExecutionProvider"
_NNAPI, _COREML = "NnapiExecutionProvider", "CoreMLExecutionProvider"
_WEBGPU = ("WebGpuExecutionProvider", "JsExecutionProvider")
_CUDA, _WEBNN = "CUDAExecutionProvider", "WebNNExecutionProvider"

# The first rule that fits a node takes it.
RULES = (
    Rule(
        (),
        _DECODE,
        "{operators}: only the CPU provider has a kernel for it; export with `--decode inline`, "
        "or open the bundle without the native kernel",
    ),
    Rule(
        (_XNNPACK,),
        (_NBITS,),
        "{count} MatMulNBits: XNNPACK multiplies floats by constants; export with `--weights fp32`",
    ),
    Rule(
        (_XNNPACK,),
        (),
        "{operators}: XNNPACK multiplies matrices of two dimensions by float constants, and has "
        "Softmax, convolution and pooling, all of fixed shapes; the rest runs on the CPU provider, "
        "which shares its memory",
    ),
    Rule(
        (_QNN,),
        ("Gather",),
        "{count} Gather of bytes: QNN takes them between DequantizeLinear and QuantizeLinear; "
        "export again with `--target qnn`, which puts them there",
        _BYTES,
    ),
    Rule(
        (_COREML, _NNAPI),
        ("Gather",),
        "{count} Gather of bytes: it takes none here, and a packed table's codes are bytes; "
        "ordinary for a bundle, and what they pass on is small",
        _BYTES,
    ),
    Rule(
        _WEBGPU,
        ("Gather",),
        "{count} Gather of bytes: onnxruntime-web gathers them on the GPU since 1.30; use that",
        frozenset(["uint8"]),
    ),
    Rule(
        _WEBGPU,
        ("Where", *_INTEGER, *_BITS),
        "{operators} of integers: not on the GPU; export with `--target webgpu`, which decodes in "
        "floats, and without `--weights int8`",
        _BYTES,
    ),
    Rule(
        _WEBGPU,
        (),
        "{operators} of int8 or int64: what finds positions, masks and rows, small and ordinary "
        "on the CPU",
        frozenset(["int8", "int64"]),
    ),
    Rule(
        (_NNAPI,),
        ("Gather",),
        "{count} Gather by int64: NNAPI indexes by int32; export with `--target nnapi`",
        frozenset(["int64"]),
    ),
    Rule(
        (_COREML,),
        ("Gather",),
        "{count} Gather: Core ML takes no dimension above 16,384, and a table of more tokens has "
        "one; a packed table's is in its codes, which stay on the CPU (`--target coreml`)",
        reason=TOO_LARGE,
    ),
    Rule(
        (_WEBNN,),
        ("Reshape", "Expand", "Slice", "Tile"),
        "{operators}: shapes have to be constants there; export with `--batch 1 --sequence N`",
    ),
    Rule(
        (_NNAPI,),
        (_NBITS,),
        "{count} MatMulNBits: NNAPI has no 4-bit product; export with `--weights fp32`",
    ),
    Rule(
        (),
        (_ATTENTION,),
        "{count} MultiHeadAttention: this provider has no such kernel; export with `--no-fuse`, or "
        "for its own target",
    ),
    Rule(
        (),
        (_GROUPED,),
        "{count} GroupQueryAttention: this provider has no such kernel, or none that takes a mask; "
        "export with `--no-fuse`, or for its own target",
    ),
    Rule(
        (),
        (_NBITS,),
        "{count} MatMulNBits: this provider has no such kernel; export with `--weights fp16`",
    ),
    *(
        Rule(
            names,
            (*_INTEGER, *_BITS),
            f"{{operators}}: not there; export with `--target {word}`, which decodes in floats, "
            "and without `--weights int8`",
        )
        for names, word in (
            (_WEBGPU, "webgpu"),  # DynamicQuantizeLinear reads floats
            ((_CUDA,), "cuda"),
            ((_QNN,), "qnn"),
            ((_COREML,), "coreml"),
            ((_NNAPI,), "nnapi"),
        )
    ),
    Rule(
        (_NNAPI,),
        ("MatMul",),
        "{count} MatMul: NNAPI multiplies two matrices, or two stacks of as many; a transformer's "
        "are a stack and a matrix, whatever the export",
    ),
    Rule(
        (_NNAPI, _COREML),
        (),
        "{operators}, of integers or bytes: no kernels for them there; in a bundle these find the "
        "rows, and ordinarily stay on the CPU with the Gather of bytes",
        _INTEGERS,
    ),
    Rule(
        (_NNAPI,),
        ("LayerNormalization", "Erf", "Gelu", "Where", "Less", "Expand", "Not", "And"),
        "{operators}: not in NNAPI, whatever the export; a transformer is cut at each of them",
    ),
)

FREE = {
    provider: f"and this provider takes fixed ones: export with `{options} --batch 1 --sequence N`"
    for provider, options in (
        (_QNN, "--target qnn"),
        (_XNNPACK, "--target xnnpack"),
        (_NNAPI, "--target nnapi"),
    )
} | {
    _COREML: "and their arithmetic cuts the graph: export with `--target coreml --batch 1 "
    "--sequence N`",
    _WEBNN: "and WebNN takes fixed ones: export with `--batch 1 --sequence N`, or give "
    "freeDimensionOverrides",
}
"""What free shapes mean to a provider, and what to do."""

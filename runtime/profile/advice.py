"""What to change where a provider leaves nodes to the CPU: a table, from what was met."""

from collections.abc import Sequence
from dataclasses import dataclass

FREE_SHAPE = "free shape"
NO_CONSTANT = "is no constant"
TOO_LARGE = "a dimension above"

_BYTES = frozenset(["uint8", "int8"])
_INTEGERS = _BYTES | {"int32", "int64", "bool"}
_INTEGER = ("MatMulInteger", "DynamicQuantizeLinear", "QLinearMatMul")
_BITS = ("BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor")
_NBITS = "com.microsoft::MatMulNBits"
_DECODE = ("ai.lighttoken::CompressedEmbedding", "ai.lighttoken::CompressedHead")


@dataclass(frozen=True)
class Fallen:
    """A node that a provider did not take.

    Attributes:
        types: element types of its inputs.
        reason: why, where that is known; of a prediction.
    """

    operator: str
    types: tuple[str, ...] = ()
    reason: str = ""


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
        "{count} MatMulNBits: XNNPACK multiplies floats by constants; export with `--body fp32`",
    ),
    Rule(
        (_XNNPACK,),
        (),
        "{operators}: XNNPACK multiplies matrices of two dimensions by float constants, and has "
        "Softmax, convolution and pooling, all of fixed shapes; the rest runs on the CPU provider, "
        "which shares its memory",
    ),
    Rule(
        (_QNN, _COREML, _NNAPI),
        ("Gather",),
        "{count} Gather of bytes: it takes none here, and a packed table's codes are bytes; "
        "ordinary for a bundle, and what they pass on is small",
        _BYTES,
    ),
    Rule(
        _WEBGPU,
        ("Gather",),
        "{count} Gather of bytes: onnxruntime-web gathers them on the GPU since 1.30; use that",
        _BYTES,
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
        "{count} MatMulNBits: NNAPI has no 4-bit product; export with `--body fp32`",
    ),
    Rule(
        (),
        (_NBITS,),
        "{count} MatMulNBits: this provider has no such kernel; export with `--body fp16`",
    ),
    *(
        Rule(
            names,
            (*_INTEGER, *_BITS),
            f"{{operators}}: not there; export with `--target {word}`, which decodes in floats, "
            "and without `--body int8`",
        )
        for names, word in (
            (_WEBGPU, "webgpu"),
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

_TARGETS = {_QNN: "qnn", _XNNPACK: "xnnpack", _NNAPI: "nnapi", _COREML: "coreml"}


def advise(
    provider: str,
    fallen: Sequence[Fallen],
    *,
    free_shapes: bool = False,
    external: bool = False,
) -> tuple[str, ...]:
    """What to change, what concerns most nodes first; () where there is nothing to say.

    Args:
        provider: onnxruntime's name of the one that was wanted.
        fallen: the nodes that it did not take, without shape arithmetic.
        free_shapes: whether the graph has symbolic dimensions there.
        external: whether weights lie beside the file, where this provider reads none.
    """
    lines = []
    if free_shapes and provider in _TARGETS:
        lines.append(
            "shapes are free, and this provider wants fixed ones: export with "
            f"`--target {_TARGETS[provider]} --batch 1 --sequence N`"
        )
    if free_shapes and provider == _WEBNN:
        lines.append(
            "shapes are free, and WebNN wants fixed ones: export with `--batch 1 --sequence N`, or "
            "give freeDimensionOverrides"
        )
    if external:
        lines.append(
            "weights lie in a file of their own, where this provider reads none: "
            "export with `--format ort`, which keeps them in the model"
        )
    about: dict[Rule | None, list[str]] = {}
    for node in fallen:
        if free_shapes and (node.reason == FREE_SHAPE or node.reason.endswith(NO_CONSTANT)):
            continue  # said above; what else there is shows once they are fixed
        about.setdefault(_rule(provider, node), []).append(node.operator)
    by_size = sorted(about.items(), key=lambda item: -len(item[1]))
    lines += [rule.line.format(**_words(names)) for rule, names in by_size if rule is not None]
    unknown = about.get(None)
    if unknown:
        words = _words(unknown)["operators"]
        lines.append(f"{words}: left to the CPU for a reason that LightToken has no advice for")
    return tuple(lines)


def _rule(provider: str, node: Fallen) -> Rule | None:
    for rule in RULES:
        if (
            (not rule.providers or provider in rule.providers)
            and (not rule.operators or node.operator in rule.operators)
            and (not rule.types or rule.types.intersection(node.types))
            and (not rule.reason or rule.reason in node.reason)
        ):
            return rule
    return None


_NAMED = 4  # operators; the others are only counted


def _words(operators: Sequence[str]) -> dict[str, str]:
    counts = {name: operators.count(name) for name in operators}
    by_size = sorted(counts.items(), key=lambda item: -item[1])
    words = [f"{count} {name}" for name, count in by_size[:_NAMED]]
    more = sum(count for _, count in by_size[_NAMED:])
    if more:
        words.append(f"{more} others")
    return {"count": str(len(operators)), "operators": ", ".join(words)}

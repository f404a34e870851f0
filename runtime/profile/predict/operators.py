"""Which operators providers support that do not run here: tables from onnxruntime's documents.

The lists of NNAPI and Core ML stand in onnxruntime's Python package (``tools/mobile_helpers``),
that of WebNN in onnxruntime-web's (``docs``). What they leave out, element types above all, is from
the providers' sources. A browser decides WebNN's element types by itself (``opSupportLimits``), so
the table has none of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Operator:
    """What a provider asks of a node, beside its name.

    Attributes:
        types: element types of its first input, in ONNX's words; empty for any.
        others: of its further inputs, by index; a constant has any.
        constants: inputs, by index, that have to be constants where they are there.
        to: types that a Cast may give; empty for any.
        attributes: values that an attribute may have.
        product: a matrix product as NNAPI has it: of two matrices of which the second is constant,
            or of two stacks of matrices with equal leading dimensions.
    """

    types: frozenset[str] = frozenset()
    others: dict[int, frozenset[str]] = field(default_factory=dict)
    constants: tuple[int, ...] = ()
    to: frozenset[str] = frozenset()
    attributes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    product: bool = False


@dataclass(frozen=True)
class Support:
    """A provider's table.

    Attributes:
        provider: onnxruntime's name.
        source: where the table is from.
        date: when that was read, ISO 8601.
        static: whether shapes have to be fixed.
        rank: the most dimensions of any input; None for no limit.
        size: the largest dimension of any input; None for no limit.
        external: whether weights may lie in a file of their own. If not, the prediction holds for
            a model file that has its weights inside.
    """

    provider: str
    source: str
    date: str
    operators: dict[str, Operator]
    static: bool = True
    rank: int | None = None
    size: int | None = None
    external: bool = True


def _listed(names: str, **asked: object) -> dict[str, Operator]:
    """Operators, separated by blanks, that ask for the same."""
    return {name: replace(Operator(), **asked) for name in names.split()}  # type: ignore[arg-type]


def _types(names: str) -> frozenset[str]:
    return frozenset(names.split())


_FLOAT, _FLOATS, _BOOL = _types("float"), _types("float float16"), _types("bool")
_OWN = "com.microsoft::"


def _after(first: int, last: int) -> tuple[int, ...]:
    return tuple(range(first, last + 1))


_NNAPI = {
    **_listed(
        "Abs Add AveragePool Clip Div Elu Exp Flatten Floor GlobalAveragePool GlobalMaxPool "
        "Identity LeakyRelu Log LRN MaxPool Max Min Mul Neg PRelu QuantizeLinear Relu Sigmoid Sin "
        "Softmax Sqrt Sub Tanh",
        types=_FLOAT,
    ),
    **_listed("Transpose", types=_types("float uint8")),
    **_listed("Concat", types=_types("float uint8")),
    **_listed("Pow", types=_FLOAT, others={1: _FLOAT}),
    **_listed("Cast", types=_FLOAT, to=_types("float int32")),
    **_listed("Gather", types=_FLOAT, others={1: _types("int32")}),
    **_listed("Gemm", types=_FLOAT, constants=(1,)),
    **_listed("MatMul", types=_FLOAT, product=True),
    **_listed("BatchNormalization", types=_FLOAT, constants=_after(1, 4)),
    **_listed("Conv", types=_FLOAT, constants=(1, 2)),
    **_listed("DepthToSpace Resize", types=_FLOAT),
    **_listed("Reshape Squeeze Unsqueeze ReduceMean Split", types=_FLOAT, constants=(1,)),
    **_listed("Pad Slice", types=_FLOAT, constants=_after(1, 4)),
    **_listed("DequantizeLinear", types=_types("uint8 int8"), constants=(1, 2)),
    **_listed(
        f"QLinearConv QLinearMatMul {_OWN}QLinearAdd {_OWN}QLinearAveragePool {_OWN}QLinearSigmoid",
        types=_types("uint8 int8"),
    ),
}

_COREML = {
    **_listed(
        "Add ArgMax AveragePool Ceil Clip Concat Cos DepthToSpace Div Elu Erf Exp Gelu "
        "GlobalAveragePool GlobalMaxPool GridSample HardSigmoid Identity InstanceNormalization "
        "LeakyRelu MatMul Max MaxPool Mul PRelu Reciprocal Relu Resize Round Shape Sigmoid Sin "
        f"Softmax Softplus Sqrt Sub Tanh Tile Transpose {_OWN}QuickGelu {_OWN}FusedConv",
        types=_FLOATS,
    ),
    **_listed("And", types=_BOOL),
    **_listed("Where", types=_BOOL, others={1: _FLOATS, 2: _FLOATS}),
    **_listed("Pow", types=_FLOAT, others={1: _FLOAT}),
    **_listed(
        "Cast",
        types=_types("int32 int64 float float16 bool"),
        to=_types("int32 int64 float float16 bool"),
    ),
    # Not in the list, but in the provider (gather_op_builder.cc).
    **_listed("Gather", types=_types("float float16 int64"), others={1: _types("int32 int64")}),
    **_listed("GatherND", types=_FLOATS | _BOOL, constants=(1,), attributes={"batch_dims": (0,)}),
    **_listed("Gemm", types=_FLOATS, constants=(1,)),
    **_listed("Conv ConvTranspose", types=_FLOATS, constants=(1, 2)),
    **_listed("GroupNormalization LayerNormalization", types=_FLOATS, constants=(1, 2)),
    **_listed(
        "ReduceSum ReduceMean ReduceMax Reshape Split Squeeze Unsqueeze",
        types=_FLOATS,
        constants=(1,),
    ),
    **_listed("Slice", types=_types("float float16 int64"), constants=_after(1, 4)),
}

_WEBNN = {
    **_listed(
        "Abs Add And ArgMax ArgMin AveragePool BatchNormalization Cast Ceil Clip Concat Conv "
        "ConvInteger ConvTranspose Cos DepthToSpace DequantizeLinear Div Dropout "
        "DynamicQuantizeLinear Einsum Elu Equal Erf Exp Flatten Floor Gather GatherElements Gelu "
        "Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GRU HardSigmoid "
        "HardSwish Identity InstanceNormalization IsInf IsNaN LayerNormalization LeakyRelu Less "
        "LessOrEqual Log LpNormalization LpPool LRN LSTM MatMul MatMulInteger Max MaxPool Min Mul "
        "Neg Not Or Pad Pow PRelu QuantizeLinear Reciprocal Relu Resize RotaryEmbedding Round "
        "ScatterElements ScatterND Shape Sigmoid Sign SimplifiedLayerNormalization Sin Softmax "
        "Softplus Softsign Sqrt Sub Tan Tanh Transpose Unsqueeze Where Xor "
        f"{_OWN}GroupQueryAttention {_OWN}MultiHeadAttention {_OWN}RotaryEmbedding "
        f"{_OWN}SkipLayerNormalization {_OWN}SkipSimplifiedLayerNormalization",
    ),
    **_listed(
        "CumSum Expand Reshape Split Squeeze Tile Trilu ReduceL1 ReduceL2 ReduceLogSum "
        "ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare",
        constants=(1,),
    ),
    **_listed("GatherND", attributes={"batch_dims": (0,)}),
    **_listed("Slice", constants=_after(1, 4)),
    **_listed(f"{_OWN}GatherBlockQuantized", constants=(0, 3)),
    **_listed(f"{_OWN}MatMulNBits", constants=(1, 3), attributes={"bits": (4, 8)}),
}


def _sorted(tables: Iterable[tuple[str, Support]]) -> dict[str, Support]:
    return {
        word: replace(one, operators=dict(sorted(one.operators.items()))) for word, one in tables
    }


SUPPORT = _sorted(
    [
        (
            "nnapi",
            Support(
                "NnapiExecutionProvider",
                "onnxruntime 1.31.1, nnapi_supported_ops.md and the provider's op builders; "
                "Android 10 or newer",
                "2026-11-21",
                _NNAPI,
                rank=4,
                external=False,
            ),
        ),
        (
            "coreml",
            Support(
                "CoreMLExecutionProvider",
                "onnxruntime 1.31.1, coreml_supported_mlprogram_ops.md and the provider's op "
                "builders; ML Program, Core ML 6 or newer",
                "2026-11-21",
                _COREML,
                static=False,
                rank=5,
                size=16384,
            ),
        ),
        (
            "webnn",
            Support(
                "WebNNExecutionProvider",
                "onnxruntime-web 1.30.0, webnn-operators.md; element types are the browser's",
                "2026-11-21",
                _WEBNN,
            ),
        ),
    ]
)
"""By the words of places."""

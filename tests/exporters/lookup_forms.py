"""Every form of a look-up that ``test_lookup_forms`` exports, as the text of a graph.

In all of them ``w`` is a table of :data:`ROWS` x :data:`WIDTH`, and ``y`` what is made of its rows.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

ROWS, WIDTH, BLOCK = 400, 32, 16
FEW = 300  # rows of a second table
CONSTANT = "k"  # a tensor of this name stands in a Constant node
RNG = np.random.default_rng(11)
TABLE = RNG.normal(size=(ROWS, WIDTH)).astype(np.float32)
SECOND = RNG.normal(size=(FEW, WIDTH)).astype(np.float32)
INTEGERS = RNG.integers(-127, 128, (ROWS, WIDTH)).astype(np.int8)
BYTES = RNG.integers(0, 256, (ROWS, WIDTH)).astype(np.uint8)
NIBBLES = RNG.integers(-8, 8, (ROWS, WIDTH)).astype(np.int8)
BY_ROW = RNG.uniform(0.01, 0.02, (ROWS, 1)).astype(np.float32)
BY_BLOCK = RNG.uniform(0.01, 0.02, (ROWS, WIDTH // BLOCK)).astype(np.float32)
POINTS = RNG.integers(-5, 5, (ROWS, 1)).astype(np.int8)
ONE = np.float32(0.013)
IDS = RNG.integers(0, FEW, (2, 7))
FLAT = IDS.reshape(-1)
SIGNATURE = "(int64[b, s] input_ids) => (float[b, s, d] y)"
FLAT_SIGNATURE = "(int64[n] input_ids) => (float[m, d] y)"
LOGITS = f"(int64[b, s] input_ids) => (float[b, s, {ROWS}] y)"

Rows = NDArray[np.float32]
Made = Callable[..., Rows]


def rows_of(table: Rows, ids: NDArray[np.int64]) -> Rows:
    """The rows themselves."""
    return table[ids]


def logits_of(table: Rows, ids: NDArray[np.int64]) -> Rows:
    """What an output head that shares the table makes of them."""
    return np.asarray(table[ids] @ table.T, np.float32)


@dataclass(frozen=True)
class Form:
    """A form of a look-up.

    Attributes:
        kind: what it varies, the page's first column.
        name: in words, its second.
        body: of the graph.
        tensors: its weights beside ``w``.
        values: the table's rows as the graph reads them.
        made: what ``y`` is of rows and ids, and of the rows of the second table.
        feeds: ids, and what else the graph wants.
        functions: the model's functions, as text.
        heads: output heads that share the table.
        second: the rows of another table of the model, which is packed with it.
        refused: part of the line that it is refused with.
        close: how far numbers may be apart, of the largest: what its type of floats rounds.
    """

    kind: str
    name: str
    body: str
    tensors: dict = field(default_factory=dict)
    values: Rows = field(default_factory=lambda: TABLE)
    made: Made = rows_of
    signature: str = SIGNATURE
    feeds: dict = field(default_factory=lambda: {"input_ids": IDS})
    functions: str = ""
    heads: int = 0
    second: Rows | None = None
    refused: str | None = None
    close: float = 1e-4


def flat(kind: str, name: str, body: str, **settings) -> Form:
    """A form whose ids have one dimension."""
    given = {"signature": FLAT_SIGNATURE, "feeds": {"input_ids": FLAT}} | settings
    return Form(kind, name, body, **given)


def blocks(bits: int) -> str:
    return (
        f"y = com.microsoft.GatherBlockQuantized<block_size = {BLOCK}, gather_axis = 0, "
        f"quantize_axis = 1, bits = {bits}>(q, input_ids, scales)"
    )


def by_blocks(integers: NDArray[np.integer], point: int = 0) -> Rows:
    grouped = integers.astype(np.float32).reshape(ROWS, -1, BLOCK) - point
    return (grouped * BY_BLOCK[..., None]).reshape(ROWS, WIDTH)


LOOKUPS = "operator"
OPERATORS = (
    Form(LOOKUPS, "Gather", "y = Gather(w, input_ids)"),
    Form(LOOKUPS, "Gather, its axis from the end", "y = Gather<axis = -2>(w, input_ids)"),
    Form(
        LOOKUPS,
        "GatherND",
        "at = Unsqueeze(input_ids, last) y = GatherND(w, at)",
        {"last": np.array([-1])},
    ),
    flat(
        LOOKUPS,
        "GatherND of ids made a column",
        "at = Reshape(input_ids, column) y = GatherND(w, at)",
        tensors={"column": np.array([-1, 1])},
    ),
    flat(
        LOOKUPS,
        "GatherElements of ids spread over the columns",
        "at = Unsqueeze(input_ids, last) n = Shape(input_ids) both = Concat<axis = 0>(n, width) "
        "spread = Expand(at, both) y = GatherElements<axis = 0>(w, spread)",
        tensors={"last": np.array([-1]), "width": np.array([WIDTH])},
    ),
    Form(
        LOOKUPS,
        "Gather of columns of a transposed table",
        "z = Gather<axis = 1>(turned, input_ids) y = Transpose<perm = [1, 2, 0]>(z)",
        {"turned": TABLE.T.copy()},
    ),
    Form(
        LOOKUPS,
        "one-hot vectors by the table (MatMul)",
        "hot = OneHot<axis = -1>(input_ids, depth, off_on) y = MatMul(hot, w)",
        {"depth": np.array([ROWS]), "off_on": np.array([0, 1], np.float32)},
    ),
    flat(
        LOOKUPS,
        "one-hot vectors by the table (Gemm)",
        "hot = OneHot<axis = -1>(input_ids, depth, off_on) y = Gemm(hot, w)",
        tensors={"depth": np.array([ROWS]), "off_on": np.array([0, 1], np.float32)},
    ),
    Form(
        LOOKUPS,
        "one-hot vectors by the table (Einsum)",
        "hot = OneHot<axis = -1>(input_ids, depth, off_on) "
        'y = Einsum<equation = "bsv,vd->bsd">(hot, w)',
        {"depth": np.array([ROWS]), "off_on": np.array([0, 1], np.float32)},
    ),
    Form(
        LOOKUPS,
        "one-hot vectors that a comparison makes",
        "at = Unsqueeze(input_ids, last) same = Equal(at, every) hot = Cast<to = 1>(same) "
        "y = MatMul(hot, w)",
        {"last": np.array([-1]), "every": np.arange(ROWS)},
    ),
    Form(
        LOOKUPS,
        "EmbedLayerNormalization",
        "y, m = com.microsoft.EmbedLayerNormalization<epsilon = 0.00001>"
        "(input_ids, token_type_ids, w, places, kinds, gamma, beta)",
        {
            "places": SECOND[:40] + 1,
            "kinds": SECOND[:2] * 2,
            "gamma": SECOND[50],
            "beta": SECOND[51],
        },
        made=lambda table, ids: _normed(
            table[ids] + SECOND[: ids.shape[1]] + 1 + SECOND[ids % 2] * 2
        ),
        signature="(int32[b, s] input_ids, int32[b, s] token_type_ids) => (float[b, s, d] y)",
        feeds={"input_ids": IDS.astype(np.int32), "token_type_ids": (IDS % 2).astype(np.int32)},
    ),
    Form(
        LOOKUPS,
        "EmbedLayerNormalization whose sum is read too",
        "e, m, t = com.microsoft.EmbedLayerNormalization<epsilon = 0.00001>"
        "(input_ids, , w, places, , gamma, beta) y = Add(e, t)",
        {"places": SECOND[:40] + 1, "gamma": SECOND[50], "beta": SECOND[51]},
        made=lambda table, ids: _with_sum(table[ids] + SECOND[: ids.shape[1]] + 1),
        signature="(int32[b, s] input_ids) => (float[b, s, d] y)",
        feeds={"input_ids": IDS.astype(np.int32)},
        refused="EmbedLayerNormalization reads w (400 x 32)",
    ),
    Form(
        LOOKUPS,
        "EmbeddingBag: the mean of each text's rows",
        "r = Gather(w, input_ids) y = ReduceMean<keepdims = 0>(r, second)",
        {"second": np.array([1])},
        made=lambda table, ids: table[ids].mean(axis=1),
        signature="(int64[b, s] input_ids) => (float[b, d] y)",
    ),
    flat(
        LOOKUPS,
        "EmbeddingBag: flat ids and where each text begins",
        """
        n = Shape(input_ids) ends_ = Slice(offsets, one1, far) ends = Concat<axis = 0>(ends_, n)
        count_ = Shape(offsets) count = Squeeze(count_) yes = Constant<value = bool {1}>()
        y = Loop (count, yes) <body = bag (int64 i, bool on) => (bool go, float[d] mean) {
            go = Identity(on)
            at = Unsqueeze(i, zero1)
            from = Gather(offsets, at)
            to = Gather(ends, at)
            some = Slice(input_ids, from, to)
            r = Gather(w, some)
            mean = ReduceMean<keepdims = 0>(r, zero1)
        }>
        """,
        tensors={"one1": np.array([1]), "far": np.array([2**62]), "zero1": np.array([0])},
        signature="(int64[n] input_ids, int64[m] offsets) => (float[m, d] y)",
        feeds={"input_ids": FLAT, "offsets": np.array([0, 3, 8])},
        made=lambda table, ids: np.stack(
            [table[ids[a:b]].mean(axis=0) for a, b in ((0, 3), (3, 8), (8, len(ids)))]
        ),
    ),
    flat(LOOKUPS, "flat ids", "y = Gather(w, input_ids)"),
    Form(
        LOOKUPS,
        "ids of three dimensions",
        "y = Gather(w, input_ids)",
        signature="(int64[b, c, s] input_ids) => (float[b, c, s, d] y)",
        feeds={"input_ids": IDS.reshape(2, 1, 7)},
    ),
    Form(
        LOOKUPS,
        "ids of 32 bits",
        "y = Gather(w, input_ids)",
        signature=SIGNATURE.replace("int64", "int32"),
        feeds={"input_ids": IDS.astype(np.int32)},
    ),
    Form(
        LOOKUPS,
        "ArrayFeatureExtractor",
        "f = Reshape(input_ids, flat) z = ai.onnx.ml.ArrayFeatureExtractor(turned, f) "
        "y = Transpose<perm = [1, 0]>(z)",
        {"turned": TABLE.T.copy(), "flat": np.array([-1])},
        signature="(int64[b, s] input_ids) => (float[n, d] y)",
        made=lambda table, ids: table[ids.reshape(-1)],
    ),
    Form(
        LOOKUPS,
        "rows of a table of three dimensions, by ids and a number",
        "at = Unsqueeze(input_ids, last) zeros = Mul(at, zero) both = Concat<axis = -1>(zeros, at) "
        "y = GatherND(stack, both)",
        {"last": np.array([-1]), "zero": np.array(0), "stack": TABLE[None]},
        refused="GatherND reads stack (1 x 400 x 32)",
    ),
)


def _normed(rows: Rows) -> Rows:
    centred = rows - rows.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    return np.asarray(scaled * SECOND[50] + SECOND[51], np.float32)


def _with_sum(rows: Rows) -> Rows:
    return _normed(rows) + rows


STORED = "how it is stored"
HALF = TABLE.astype(np.float16)
BRAIN = TABLE.astype(ml_dtypes.bfloat16)
EIGHT = {
    "float8e4m3fn": TABLE.astype(ml_dtypes.float8_e4m3fn),
    "float8e5m2": TABLE.astype(ml_dtypes.float8_e5m2),
}
TYPES = (
    Form(
        STORED,
        "float16",
        "y = Gather(w, input_ids)",
        {"w": HALF},
        HALF.astype(np.float32),
        close=2**-10,
        signature=SIGNATURE.replace("float", "float16"),
    ),
    Form(
        STORED,
        "float16, its rows cast",
        "h = Gather(w, input_ids) y = Cast<to = 1>(h)",
        {"w": HALF},
        HALF.astype(np.float32),
        close=2**-10,
    ),
    Form(
        STORED,
        "bfloat16, its rows cast",
        "h = Gather(w, input_ids) y = Cast<to = 1>(h)",
        {"w": BRAIN},
        BRAIN.astype(np.float32),
        close=2**-8,
    ),
    Form(
        STORED,
        "bfloat16 behind a Cast",
        "h = Cast<to = 1>(w) y = Gather(h, input_ids)",
        {"w": BRAIN},
        BRAIN.astype(np.float32),
    ),
    *(
        Form(
            STORED,
            f"{name} behind a Cast",
            "h = Cast<to = 1>(w) y = Gather(h, input_ids)",
            {"w": values},
            values.astype(np.float32),
        )
        for name, values in EIGHT.items()
    ),
    Form(
        STORED,
        "float64",
        "h = Gather(w, input_ids) y = Cast<to = 1>(h)",
        {"w": TABLE.astype(np.float64)},
    ),
    Form(
        STORED,
        "int8, the whole table dequantised",
        "f = DequantizeLinear(q, scale) y = Gather(f, input_ids)",
        {"q": INTEGERS, "scale": ONE},
        INTEGERS * ONE,
    ),
    Form(
        STORED,
        "int8, the whole table dequantised by rows",
        "f = DequantizeLinear<axis = 0>(q, scales) y = Gather(f, input_ids)",
        {"q": INTEGERS, "scales": BY_ROW.ravel()},
        INTEGERS * BY_ROW,
    ),
    Form(
        STORED,
        "int8, the whole table dequantised by blocks",
        f"f = DequantizeLinear<axis = 1, block_size = {BLOCK}>(q, scales) y = Gather(f, input_ids)",
        {"q": INTEGERS, "scales": BY_BLOCK},
        by_blocks(INTEGERS),
    ),
    Form(
        STORED,
        "floats, quantised and dequantised as a whole",
        "r = QuantizeLinear(w, scale, zero) f = DequantizeLinear(r, scale, zero) "
        "y = Gather(f, input_ids)",
        {"scale": np.float32(0.05), "zero": np.int8(0)},
        np.clip(np.rint(TABLE / np.float32(0.05)), -128, 127) * np.float32(0.05),
    ),
    Form(
        STORED,
        "uint8 rows, dequantised by one scale",
        "r = Gather(q, input_ids) y = DequantizeLinear(r, scale, zero)",
        {"q": BYTES, "scale": ONE, "zero": np.uint8(117)},
        (BYTES.astype(np.float32) - 117) * ONE,
    ),
    Form(
        STORED,
        "int8 rows by a scale that is gathered",
        "r = Gather(q, input_ids) f = Cast<to = 1>(r) s = Gather(scales, input_ids) y = Mul(f, s)",
        {"q": INTEGERS, "scales": BY_ROW},
        INTEGERS * BY_ROW,
    ),
    Form(
        STORED,
        "int8 rows by a scale and a zero point that are gathered",
        "r = Gather(q, input_ids) f = Cast<to = 1>(r) p = Gather(points, input_ids) "
        "g = Cast<to = 1>(p) n = Sub(f, g) s = Gather(scales, input_ids) y = Mul(n, s)",
        {"q": INTEGERS, "scales": BY_ROW, "points": POINTS},
        (INTEGERS.astype(np.float32) - POINTS) * BY_ROW,
    ),
    Form(
        STORED,
        "int8 rows by a scale of one dimension that is gathered",
        "r = Gather(q, input_ids) f = Cast<to = 1>(r) g = Gather(scales, input_ids) "
        "s = Unsqueeze(g, last) y = Mul(f, s)",
        {"q": INTEGERS, "scales": BY_ROW.ravel(), "last": np.array([-1])},
        INTEGERS * BY_ROW,
    ),
    flat(
        STORED,
        "int8 rows, dequantised by scales that are gathered",
        "r = Gather(q, input_ids) s = Gather(scales, input_ids) "
        "y = DequantizeLinear<axis = 0>(r, s)",
        tensors={"q": INTEGERS, "scales": BY_ROW.ravel()},
        values=INTEGERS * BY_ROW,
    ),
    Form(
        STORED,
        "int4, GatherBlockQuantized",
        blocks(4),
        {"q": NIBBLES.astype(ml_dtypes.int4), "scales": BY_BLOCK},
        by_blocks(NIBBLES),
    ),
    Form(
        STORED,
        "bytes, GatherBlockQuantized",
        blocks(8),
        {"q": BYTES, "scales": BY_BLOCK},
        by_blocks(BYTES, 128),
    ),
    Form(
        STORED,
        "int4, the whole table dequantised by blocks",
        f"f = DequantizeLinear<axis = 1, block_size = {BLOCK}>(q, scales) y = Gather(f, input_ids)",
        {"q": NIBBLES.astype(ml_dtypes.int4), "scales": BY_BLOCK},
        by_blocks(NIBBLES),
    ),
    Form(STORED, "a Constant node", "y = Gather(k, input_ids)", {CONSTANT: TABLE}),
    Form(
        STORED,
        "transposed [d, V], behind a Transpose",
        "f = Transpose<perm = [1, 0]>(turned) y = Gather(f, input_ids)",
        {"turned": TABLE.T.copy()},
    ),
)

COMPUTED = "table that is computed"
TABLES = (
    Form(
        COMPUTED,
        "scaled (Mul)",
        "s = Mul(w, four) y = Gather(s, input_ids)",
        {"four": np.float32(4)},
        4 * TABLE,
    ),
    Form(
        COMPUTED,
        "joined (Concat)",
        "s = Concat<axis = 0>(w, more) y = Gather(s, input_ids)",
        {"more": SECOND[:7]},
        np.concatenate([TABLE, SECOND[:7]]),
    ),
    Form(COMPUTED, "itself (Identity)", "s = Identity(w) y = Gather(s, input_ids)"),
    Form(
        COMPUTED,
        "in another shape (Reshape)",
        "s = Reshape(long, shape) y = Gather(s, input_ids)",
        {"long": TABLE.ravel(), "shape": np.array([ROWS, WIDTH])},
    ),
    Form(
        COMPUTED,
        "its first rows (Slice)",
        "s = Slice(w, none, most) y = Gather(s, input_ids)",
        {"none": np.array([0]), "most": np.array([350])},
        TABLE[:350],
    ),
    Form(
        COMPUTED,
        "with a row of zeros more (Pad)",
        "s = Pad(w, pads) y = Gather(s, input_ids)",
        {"pads": np.array([0, 0, 1, 0])},
        np.concatenate([TABLE, np.zeros((1, WIDTH), np.float32)]),
    ),
    Form(
        COMPUTED,
        "of two factors (MatMul)",
        "s = MatMul(a, m) y = Gather(s, input_ids)",
        {"a": TABLE[:, :8].copy(), "m": SECOND[:8]},
        TABLE[:, :8] @ SECOND[:8],
    ),
    Form(
        COMPUTED,
        "of integers and scales by hand (Cast, Mul)",
        "f = Cast<to = 1>(q) s = Mul(f, scales) y = Gather(s, input_ids)",
        {"q": INTEGERS, "scales": BY_ROW},
        INTEGERS * BY_ROW,
    ),
    Form(
        COMPUTED,
        "of the graph's input",
        "s = Mul(w, gain) y = Gather(s, input_ids)",
        signature="(int64[b, s] input_ids, float[1] gain) => (float[b, s, d] y)",
        refused="Gather reads what Mul makes of w (400 x 32) in each call",
        feeds={"input_ids": IDS, "gain": np.array([2], np.float32)},
        made=lambda table, ids: 2 * table[ids],
    ),
)

WAY = "ids through"
ZERO = {"zero": np.array(0), "limit": np.array(ROWS - 1), "some": np.array(3)}


def ids_through(name: str, body: str, made: Callable, **settings) -> Form:
    """Ids that are changed on the way: ``made`` says how."""
    return Form(
        WAY,
        name,
        f"{body} y = Gather(w, i)",
        {key: value for key, value in ZERO.items() if key in body} | settings,
        made=lambda table, ids: table[made(ids)],
    )


WAYS = (
    ids_through("Cast", "i = Cast<to = 6>(input_ids)", lambda ids: ids),
    ids_through(
        "Reshape",
        "i_ = Reshape(input_ids, flat) n = Shape(input_ids) i = Reshape(i_, n)",
        lambda ids: ids,
        flat=np.array([-1]),
    ),
    ids_through(
        "Where",
        "m = Less(input_ids, limit) i = Where(m, input_ids, zero)",
        lambda ids: np.where(ids < 200, ids, 0),
        limit=np.array(200),
    ),
    ids_through(
        "Clip",
        "i = Clip(input_ids, zero, limit)",
        lambda ids: ids.clip(0, 200),
        limit=np.array(200),
    ),
    ids_through("Mod", "i = Mod(input_ids, limit)", lambda ids: ids % 97, limit=np.array(97)),
    ids_through("Min", "i = Min(input_ids, limit)", lambda ids: np.minimum(ids, ROWS - 1)),
    ids_through("Max", "i = Max(input_ids, some)", lambda ids: np.maximum(ids, 3)),
    ids_through("Add", "i = Add(input_ids, some)", lambda ids: ids + 3),
    ids_through(
        "Sub and Max", "j = Sub(input_ids, some) i = Max(j, zero)", lambda ids: (ids - 3).clip(0)
    ),
    ids_through(
        "Concat",
        "n = Shape<end = 1>(input_ids) both = Concat<axis = 0>(n, one) first = Expand(some, both) "
        "i = Concat<axis = 1>(first, input_ids)",
        lambda ids: np.concatenate([np.full((len(ids), 1), 3), ids], axis=1),
        one=np.array([1]),
    ),
    ids_through(
        "Slice",
        "i = Slice(input_ids, from, far, axis)",
        lambda ids: ids[:, 1:],
        **{"from": np.array([1]), "far": np.array([2**62]), "axis": np.array([1])},
    ),
    ids_through(
        "Pad",
        "i = Pad(input_ids, pads, some)",
        lambda ids: np.pad(ids, ((0, 0), (1, 0)), constant_values=3),
        pads=np.array([0, 1, 0, 0]),
    ),
    ids_through(
        "ScatterElements",
        "i = ScatterElements<axis = 1>(input_ids, at, new)",
        lambda ids: np.concatenate([[[3], *ids[1:, :1]], ids[:, 1:]], axis=1),
        at=np.array([[0]]),
        new=np.array([[3]]),
    ),
    ids_through(
        "ScatterND",
        "i = ScatterND(input_ids, at, new)",
        lambda ids: np.concatenate([[[3], *ids[1:, :1]], ids[:, 1:]], axis=1),
        at=np.array([[0, 0]]),
        new=np.array([3]),
    ),
    ids_through(
        "Gather (of their order)",
        "i = Gather<axis = 1>(input_ids, order)",
        lambda ids: ids[:, ::-1],
        order=np.arange(6, -1, -1),
    ),
    ids_through(
        "Gather (the row of each token)",
        "i = Gather(rows_of_tokens, input_ids)",
        lambda ids: (ids * 7) % ROWS,
        rows_of_tokens=np.arange(ROWS) * 7 % ROWS,
    ),
    ids_through(
        "a hash (Mul, Add, Mod)",
        "a = Mul(input_ids, factor) h = Add(a, some) i = Mod(h, limit)",
        lambda ids: (ids * 7919 + 3) % (ROWS - 1),
        factor=np.array(7919),
    ),
    ids_through(
        "a hash of pairs (BitwiseXor)",
        "n = Slice(input_ids, from, far, axis) p = Slice(input_ids, none, less, axis) "
        "a = Mul(n, factor) h = BitwiseXor(a, p) i = Mod(h, limit)",
        lambda ids: (ids[:, 1:] * 7919 ^ ids[:, :-1]) % (ROWS - 1),
        **{"from": np.array([1]), "far": np.array([2**62]), "axis": np.array([1])},
        **{"none": np.array([0]), "less": np.array([-1]), "factor": np.array(7919)},
    ),
    Form(
        WAY,
        "constants, beside ids",
        "r = Gather(w, input_ids) f = Gather(w, first) y = Add(r, f)",
        {"first": np.array(3)},
        made=lambda table, ids: table[ids] + table[3],
    ),
    Form(
        WAY,
        "a running sum, beside ids",
        "c = CumSum(input_ids, one) k = Mod(c, limit) r = Gather(w, input_ids) "
        "f = Gather(w, k) y = Add(r, f)",
        {"one": np.array(1), "limit": np.array(ROWS)},
        made=lambda table, ids: table[ids] + table[ids.cumsum(axis=1) % ROWS],
    ),
    Form(
        WAY,
        "a running sum alone",
        "c = CumSum(input_ids, one) y = Gather(w, c)",
        {"one": np.array(1)},
        made=lambda table, ids: table[ids.cumsum(axis=1)],
        refused="w (400 x 32) is looked up by what CumSum gives",
        feeds={"input_ids": IDS % 50},
    ),
    Form(
        WAY,
        "an input of floats (Cast)",
        "i = Cast<to = 7>(input_ids) y = Gather(w, i)",
        signature="(float[b, s] input_ids) => (float[b, s, d] y)",
        feeds={"input_ids": IDS.astype(np.float32)},
        made=lambda table, ids: table[ids.astype(np.int64)],
    ),
    Form(
        WAY,
        "an input of 16 bits (Cast)",
        "i = Cast<to = 7>(input_ids) y = Gather(w, i)",
        signature="(uint16[b, s] input_ids) => (float[b, s, d] y)",
        feeds={"input_ids": IDS.astype(np.uint16)},
    ),
    Form(
        WAY,
        "ArgMax of scores",
        "i = ArgMax<axis = -1, keepdims = 0>(scores) y = Gather(w, i)",
        signature=f"(float[b, s, {ROWS}] scores) => (float[b, s, d] y)",
        feeds={"scores": np.eye(ROWS, dtype=np.float32)[IDS]},
        made=lambda table, scores: table[scores.argmax(axis=-1)],
        refused="w (400 x 32) is looked up by what ArgMax gives",
    ),
)

PLACE = "place"
PLACES = (
    Form(
        PLACE,
        "a function",
        "y = nn.Embedding(w, input_ids)",
        functions='<domain: "nn", opset_import: ["" : 21]> '
        "Embedding (weight, ids) => (rows) { rows = Gather(weight, ids) }",
    ),
    Form(
        PLACE,
        "a function of a function",
        "y = nn.Outer(w, input_ids)",
        functions='<domain: "nn", opset_import: ["" : 21, "nn" : 1]> '
        "Outer (weight, ids) => (rows) { rows = nn.Embedding(weight, ids) } "
        '<domain: "nn", opset_import: ["" : 21]> '
        "Embedding (weight, ids) => (rows) { rows = Gather(weight, ids) }",
    ),
    Form(
        PLACE,
        "the branches of an If",
        """
        n = Size(input_ids) any = Cast<to = 9>(n)
        y = If (any) <
            then_branch = g1 () => (float[b,s,d] x) { x = Gather(w, input_ids) },
            else_branch = g2 () => (float[b,s,d] z) { r = Gather(w, input_ids) z = Neg(r) }
        >
        """,
    ),
    Form(
        PLACE,
        "the body of a Loop",
        """
        n_ = Shape<end = 1>(input_ids) n = Squeeze(n_) yes = Constant<value = bool {1}>()
        y = Loop (n, yes) <body = each (int64 i, bool on) => (bool go, float[s,d] x) {
            go = Identity(on) some = Gather(input_ids, i) x = Gather(w, some)
        }>
        """,
    ),
    Form(
        PLACE,
        "the body of a Loop, by ids that it carries",
        """
        n_ = Shape<end = 1>(input_ids) n = Squeeze(n_) yes = Constant<value = bool {1}>()
        last, y = Loop (n, yes, input_ids) <
            body = each (int64 i, bool on, int64[b,s] held) =>
                (bool go, int64[b,s] same, float[s,d] x) {
                go = Identity(on) same = Identity(held) some = Gather(held, i) x = Gather(w, some)
            }
        >
        """,
    ),
    Form(
        PLACE,
        "the body of a Scan, over texts",
        """
        y = Scan <num_scan_inputs = 1, body = each (int64[s] some) => (float[s,d] x) {
            x = Gather(w, some)
        }> (input_ids)
        """,
    ),
)

SEVERAL = "several readers"
READERS = (
    Form(
        SEVERAL,
        "two look-ups by two inputs",
        "a = Gather(w, input_ids) c = Gather(w, more) y = Add(a, c)",
        signature="(int64[b, s] input_ids, int64[b, s] more) => (float[b, s, d] y)",
        feeds={"input_ids": IDS, "more": IDS},
        made=lambda table, ids: 2 * table[ids],
    ),
    Form(
        SEVERAL,
        "tables of layers behind a guard of their range",
        "r = Gather(w, input_ids) m = Less(input_ids, few) i = Where(m, input_ids, zero) "
        "p = Gather(layers, i) y = Add(r, p)",
        {"few": np.array(FEW), "zero": np.array(0), "layers": SECOND},
        made=lambda table, ids, second: table[ids] + second[np.where(ids < FEW, ids, 0)],
        feeds={"input_ids": IDS + 50},
        second=SECOND,
    ),
    Form(
        SEVERAL,
        "the sum of the table",
        "r = Gather(w, input_ids) n = ReduceSum<keepdims = 0>(w) y = Add(r, n)",
        refused="w is read by ReduceSum too, neither a look-up nor an output head",
        made=lambda table, ids: table[ids] + table.sum(),
    ),
)

HEADS = "output head that shares it"
HEAD_FORMS = (
    Form(
        HEADS,
        "Transpose, MatMul",
        "r = Gather(w, input_ids) t = Transpose<perm = [1, 0]>(w) y = MatMul(r, t)",
    ),
    Form(
        HEADS,
        "a transposed copy, MatMul",
        "r = Gather(w, input_ids) y = MatMul(r, turned)",
        {"turned": TABLE.T.copy()},
    ),
    flat(
        HEADS,
        "Gemm",
        "r = Gather(w, input_ids) y = Gemm<transB = 1>(r, w)",
        signature=f"(int64[n] input_ids) => (float[n, {ROWS}] y)",
    ),
    flat(
        HEADS,
        "Gemm with a bias",
        "r = Gather(w, input_ids) y = Gemm<transB = 1>(r, w, bias)",
        tensors={"bias": SECOND[:25, :16].ravel()},
        made=lambda table, ids: table[ids] @ table.T + SECOND[:25, :16].ravel(),
        signature=f"(int64[n] input_ids) => (float[n, {ROWS}] y)",
    ),
    Form(
        HEADS,
        "an equal matrix that is stored again",
        "r = Gather(w, input_ids) t = Transpose<perm = [1, 0]>(again) y = MatMul(r, t)",
        {"again": TABLE.copy()},
    ),
    Form(
        HEADS,
        "Einsum",
        'r = Gather(w, input_ids) y = Einsum<equation = "bsd,vd->bsv">(r, w)',
    ),
    Form(
        HEADS,
        "Einsum with other letters",
        'r = Gather(w, input_ids) y = Einsum<equation = "...i, ji -> ...j">(r, w)',
    ),
    Form(
        HEADS,
        "a table stored transposed, MatMul",
        "t = Transpose<perm = [1, 0]>(turned) r = Gather(t, input_ids) y = MatMul(r, turned)",
        {"turned": TABLE.T.copy()},
    ),
    Form(
        HEADS,
        "one-hot vectors in, MatMul out",
        "hot = OneHot<axis = -1>(input_ids, depth, off_on) r = MatMul(hot, w) "
        "t = Transpose<perm = [1, 0]>(w) y = MatMul(r, t)",
        {"depth": np.array([ROWS]), "off_on": np.array([0, 1], np.float32)},
    ),
    Form(
        HEADS,
        "float16, cast",
        "f = Cast<to = 1>(w) r = Gather(f, input_ids) t = Transpose<perm = [1, 0]>(f) "
        "y = MatMul(r, t)",
        {"w": HALF},
        HALF.astype(np.float32),
    ),
    Form(
        HEADS,
        "int8, dequantised",
        "f = DequantizeLinear(q, scale) r = Gather(f, input_ids) t = Transpose<perm = [1, 0]>(f) "
        "y = MatMul(r, t)",
        {"q": INTEGERS, "scale": ONE},
        INTEGERS * ONE,
    ),
    Form(
        HEADS,
        "a product the other way round: the table by states",
        "r = Gather(w, input_ids) u = Transpose<perm = [0, 2, 1]>(r) z = MatMul(w, u) "
        "y = Transpose<perm = [0, 2, 1]>(z)",
    ),
)
FORMS: tuple[Form, ...] = (*OPERATORS, *TYPES, *TABLES, *WAYS, *PLACES, *READERS, *HEAD_FORMS)

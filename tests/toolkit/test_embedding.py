"""``lookup`` against a slow reading of the formula, and the checks of its arguments."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit import CompressedEmbedding
from toolkit.embedding import DenseDecoder, DiagonalDecoder, LowRank, RowOrder, Stage
from toolkit.errors import FormatError, InputError


def reference_row(e, i):
    """x^[i] bit by bit in float64, and the sum of magnitudes: it bounds the rounding."""
    p = i if e.order is None else int(e.order.starts[i // e.order.block]) + i % e.order.block
    terms = [e.mean.astype(np.float64)]
    if e.lowrank is not None:
        for k in range(e.lowrank.rank):
            factor = float(e.lowrank.left[i, k]) * float(e.lowrank.scale[k])
            terms.append(factor * e.lowrank.right[k].astype(np.float64))
    for stage in e.stages:
        if p >= len(stage.codes):
            continue
        for bit in range(stage.bits):
            sign = 1 if (int(stage.codes[p, bit // 8]) >> (bit % 8)) & 1 else -1
            scale = stage.decoder.scale.astype(np.float64)
            if isinstance(stage.decoder, DenseDecoder):
                terms.append(sign * stage.decoder.weight[bit] * scale)
            else:
                terms.append(sign * scale * (np.arange(e.width) == bit))
    return np.sum(terms, axis=0), np.abs(terms).sum(axis=0)


@given(st.from_type(CompressedEmbedding))
def test_lookup_is_what_the_formula_says(e):
    table = e.lookup(np.arange(e.rows))
    assert table.dtype == np.float32
    for i in range(e.rows):
        row, magnitude = reference_row(e, i)
        assert (np.abs(table[i] - row) <= 1e-6 * magnitude + 1e-30).all()


@given(
    st.from_type(CompressedEmbedding),
    st.data(),
    st.sampled_from([np.int8, np.uint8, np.int16, np.int32, np.uint32, np.int64, np.uint64]),
)
def test_ids_of_any_shape_and_integer_type(e, data, dtype):
    shape = data.draw(st.sampled_from([(), (1,), (5,), (2, 3), (2, 1, 2), (0,), (3, 0)]))
    ids = np.array(
        [data.draw(st.integers(0, e.rows - 1)) for _ in range(int(np.prod(shape)))], dtype
    ).reshape(shape)
    values = e.lookup(ids)
    assert values.shape == (*shape, e.width)
    np.testing.assert_array_equal(values, e.dense()[ids.astype(int)])


def test_ids_may_be_a_list_or_a_number(small_embedding):
    np.testing.assert_array_equal(small_embedding.lookup([[3, 4]])[0, 1], small_embedding.lookup(4))


def test_no_ids_give_no_rows(small_embedding):
    assert small_embedding.lookup([]).shape == (0, 48)


def test_a_row_does_not_depend_on_its_neighbours(small_embedding):
    """More ids than one chunk holds, among them repeated ones."""
    ids = np.random.default_rng(0).integers(0, small_embedding.rows, size=5000)
    np.testing.assert_allclose(
        small_embedding.lookup(ids), small_embedding.dense()[ids], rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("wrong", [-1, 707, 2**40, np.uint64(2**63)])
def test_an_id_outside_is_named(small_embedding, wrong):
    with pytest.raises(InputError, match=rf"^id {int(wrong)} is outside 0 \.\. 706"):
        small_embedding.lookup(np.array([0, wrong, 1], dtype=np.asarray(wrong).dtype))


@pytest.mark.parametrize("wrong", [[0.0], 1.5, [True], ["a"], None, [2**70]])
def test_ids_that_are_no_integers_are_refused(small_embedding, wrong):
    with pytest.raises(InputError, match="ids must be integers, got"):
        small_embedding.lookup(wrong)


def test_sizes_agree_with_one_another(small_embedding):
    e = small_embedding
    assert e.nbytes == len(e.to_bytes())
    assert e.dense_nbytes == 707 * 48 * 4
    assert e.ratio == pytest.approx(e.dense_nbytes / e.nbytes)
    assert e.bits_per_parameter == pytest.approx(32 / e.ratio)
    assert sum(e.bytes_by_part().values()) < e.nbytes


def test_the_parts_are_listed_in_storage_order(small_embedding):
    assert small_embedding.order is not None
    names = list(small_embedding.bytes_by_part())
    assert names[:2] == ["mean", "order.starts"]
    assert names[2:5] == ["stages.0.codes", "stages.0.weight", "stages.0.scale"]


F32, I8, U8 = np.float32, np.int8, np.uint8
MEAN = np.zeros(3, F32)
GOOD = Stage(np.zeros((2, 1), U8), DiagonalDecoder(np.ones(3, F32)))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"rows": 0}, "table of 0 x 3"),
        ({"mean": np.zeros(4, F32)}, "mean has shape"),
        ({"lowrank": LowRank(np.zeros((1, 1), I8), np.zeros((1, 3), I8), np.ones(1, F32))}, "left"),
        (
            {"lowrank": LowRank(np.zeros((2, 1), I8), np.zeros((1, 2), I8), np.ones(1, F32))},
            "right",
        ),
        (
            {"lowrank": LowRank(np.zeros((2, 1), I8), np.zeros((1, 3), I8), np.ones(2, F32))},
            "factor scale",
        ),
        ({"order": RowOrder(np.array([0, 0], np.int32), 1)}, "not a permutation"),
        ({"order": RowOrder(np.array([1, 2], np.int32), 1)}, "not a permutation"),
        ({"order": RowOrder(np.array([0], np.int32), 1)}, r"row order is \(1,\)"),
        ({"order": RowOrder(np.array([0, 1], np.int32), 0)}, "row block of 0"),
        ({"stages": (Stage(np.zeros((3, 1), U8), GOOD.decoder),)}, "covers 3 rows"),
        ({"stages": (Stage(np.zeros((2, 2), U8), GOOD.decoder),)}, "stores 2 bytes a row"),
        (
            {"stages": (GOOD, Stage(GOOD.codes, DiagonalDecoder(np.ones(2, F32))))},
            "stage 1 decodes",
        ),
        (
            {"stages": (Stage(GOOD.codes, DenseDecoder(np.zeros((8, 3), I8), np.ones(1, F32))),)},
            "scale of wrong shape",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts, message):
    whole = {"rows": 2, "width": 3, "mean": MEAN, "stages": (GOOD,), **parts}
    with pytest.raises(FormatError, match=f"inconsistent embedding: .*{message}"):
        CompressedEmbedding(**whole)

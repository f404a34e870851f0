"""``lookup`` against a slow reading of the formula, and the checks of its arguments."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit import CompressedEmbedding
from toolkit.errors import FormatError, InputError
from toolkit.table.components import (
    CODEBOOK_PEAK,
    ColumnDecoder,
    DenseDecoder,
    Gain,
    LowRank,
    RowOrder,
    Stage,
    Zeros,
)


def latents_by_hand(stage, position):
    """One row's latent values, byte by byte, as Python numbers."""
    values = []
    for byte in stage.codes[position].tolist():
        if stage.codebook is None:
            values += [1 if byte >> bit & 1 else -1 for bit in range(8)]
        else:
            values += stage.codebook[byte].tolist()
    return values[: stage.decoder.latents]


def reference_row(e, i):
    """x^[i] value by value in float64, and the sum of magnitudes: it bounds the rounding."""
    if e.zeros is not None and e.zeros.bits[i // 8] >> i % 8 & 1:
        return np.zeros(e.width), np.zeros(e.width)
    p = i if e.order is None else int(e.order.starts[i // e.order.block]) + i % e.order.block
    gain = 1.0
    if e.gain is not None and p < len(e.gain.codes):
        gain = float(e.gain.levels[e.gain.codes[p]])
    covered = any(p < len(stage.codes) for stage in e.stages)
    start = e.mean if e.tail is None or covered else e.tail
    terms = [start.astype(np.float64)]
    if e.lowrank is not None:
        for k in range(e.lowrank.rank):
            factor = float(e.lowrank.left[i, k]) * float(e.lowrank.scale[k])
            terms.append(gain * factor * e.lowrank.right[k].astype(np.float64))
    for stage in e.stages:
        if p >= len(stage.codes):
            continue
        scale = stage.decoder.scale.astype(np.float64)
        for latent, value in enumerate(latents_by_hand(stage, p)):
            if isinstance(stage.decoder, DenseDecoder):
                terms.append(gain * value * stage.decoder.weight[latent] * scale)
            else:
                terms.append(gain * value * scale * (np.arange(e.width) == latent))
    return np.sum(terms, axis=0), np.abs(terms).sum(axis=0)


@given(st.from_type(CompressedEmbedding))
def test_lookup_is_what_the_formula_says(e):
    table = e.lookup(np.arange(e.rows))
    assert table.dtype == np.float32
    for i in range(e.rows):
        row, magnitude = reference_row(e, i)
        assert (np.abs(table[i] - row) <= 1e-6 * magnitude + 1e-30).all()


@pytest.mark.parametrize("zeros", [[0], [8, 9, 36], range(37)])
def test_marked_rows_are_zero_and_the_others_as_they_were(pack_table, zeros):
    parts = {"dense": [(30, 13, 5)], "block": 4, "gained": 20, "tail": True}
    with_marks, without = pack_table(37, 6, **parts, zeros=zeros), pack_table(37, 6, **parts)
    expected = without.dense()
    expected[list(zeros)] = 0
    np.testing.assert_array_equal(with_marks.dense(), expected)
    np.testing.assert_array_equal(with_marks.lookup(np.arange(-37, 0)), expected)
    hidden = np.ones((2, 6), np.float32)
    assert not with_marks.logits(hidden)[:, list(zeros)].any()
    assert with_marks.bytes_by_part()["zeros"] == 5


@pytest.mark.parametrize(
    ("bits", "message"),
    [
        ([0, 0, 0, 0], r"marks of zero rows have shape \(4,\)"),
        ([0, 0, 0, 0, 0b100000], "a row beyond the last is marked"),
    ],
)
def test_marks_that_do_not_fit_are_refused(pack_table, bits, message):
    with pytest.raises(FormatError, match=message):
        replace(pack_table(37, 6), zeros=Zeros(np.array(bits, np.uint8)))


def random_stage(rng, rows, groups, k, width):
    """A dense stage whose last byte stands for one value less than the others."""
    return Stage(
        rng.integers(0, 256, (rows, groups)).astype(np.uint8),
        DenseDecoder(
            rng.integers(-127, 128, (groups * k - 1, width)).astype(np.int8),
            rng.random(width).astype(np.float32),
        ),
        rng.integers(-CODEBOOK_PEAK, CODEBOOK_PEAK + 1, (256, k)).astype(np.int8),
    )


def test_a_codebook_stage_in_one_line_of_numpy():
    rng = np.random.default_rng(0)
    stage, mean = random_stage(rng, 50, 4, 3, 7), rng.normal(size=7).astype(np.float32)
    values = stage.codebook[stage.codes].reshape(50, 12)[:, :11].astype(np.int64)
    expected = (values @ stage.decoder.weight.astype(np.int64)) * stage.decoder.scale + mean
    decoded = CompressedEmbedding(50, 7, mean, (stage,)).dense()
    np.testing.assert_allclose(decoded, expected, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("latents", [1, 2096, 2097, 200_000])
def test_the_integer_product_is_exact_however_tall_the_decoder(latents):
    rng = np.random.default_rng(latents)
    values = rng.integers(CODEBOOK_PEAK - 4, CODEBOOK_PEAK + 1, (3, latents)).astype(np.int8)
    weight = rng.integers(120, 128, (latents, 5)).astype(np.int8)
    # The first half adds up to far beyond 2**24, the second takes it back.
    weight[latents // 2 :] *= np.int8(-1)
    decoded = DenseDecoder(weight, np.ones(5, np.float32)).decode(values)
    exact = values.astype(np.int64) @ weight.astype(np.int64)
    np.testing.assert_array_equal(decoded, exact.astype(np.float32))


def test_a_float32_decoder_is_read_as_it_is():
    weight = np.array([[0.1, 0.2], [0.3, 0.4]], np.float32)
    decoded = DenseDecoder(weight).decode(np.array([[1, -1]], np.int8))
    np.testing.assert_allclose(decoded, [[-0.2, -0.2]], rtol=1e-6)


def test_rows_beyond_coverage_are_the_tail():
    rng = np.random.default_rng(1)
    mean, tail = rng.normal(size=(2, 7)).astype(np.float32)
    long, short = random_stage(rng, 30, 2, 3, 7), random_stage(rng, 10, 1, 5, 7)
    embedding = CompressedEmbedding(50, 7, mean, (short, long), tail=tail)
    assert embedding.covered == 30
    table = embedding.dense()
    np.testing.assert_array_equal(table[30:], np.tile(tail, (20, 1)))
    without = CompressedEmbedding(50, 7, mean, (short, long))
    np.testing.assert_array_equal(table[:30], without.dense()[:30])
    np.testing.assert_array_equal(without.dense()[30:], np.tile(mean, (20, 1)))


def test_a_tail_without_stages_stands_for_every_row():
    embedding = CompressedEmbedding(4, 2, np.zeros(2, np.float32), (), tail=np.ones(2, np.float32))
    assert embedding.covered == 0
    assert embedding.dense().tolist() == [[1.0, 1.0]] * 4


def test_a_gain_multiplies_every_stage_and_not_the_mean():
    rng = np.random.default_rng(2)
    mean = rng.normal(size=7).astype(np.float32)
    stages = tuple(random_stage(rng, rows, 2, 3, 7) for rows in (40, 20))
    gain = Gain(rng.integers(0, 256, 30).astype(np.uint8), rng.random(256).astype(np.float32))
    plain = CompressedEmbedding(40, 7, mean, stages).dense()
    gained = CompressedEmbedding(40, 7, mean, stages, gain=gain).dense()
    factors = np.append(gain.levels[gain.codes], np.ones(10))[:, None]
    np.testing.assert_allclose(gained - mean, factors * (plain - mean), rtol=1e-4, atol=1e-2)
    np.testing.assert_array_equal(gained[30:], plain[30:])


def test_gain_and_tail_go_by_position_not_by_id():
    rng = np.random.default_rng(3)
    mean, tail = rng.normal(size=(2, 7)).astype(np.float32)
    gain = Gain(np.array([1, 2], np.uint8), np.arange(256, dtype=np.float32))
    stages = (random_stage(rng, 3, 2, 3, 7),)
    order = RowOrder(np.array([2, 0], np.int32), 2)
    sorted_rows = CompressedEmbedding(4, 7, mean, stages, gain=gain, tail=tail).dense()
    moved = CompressedEmbedding(4, 7, mean, stages, order=order, gain=gain, tail=tail).dense()
    np.testing.assert_array_equal(moved, sorted_rows[[2, 3, 0, 1]])


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
    # Low-rank factors are floats: how many rows a product has decides the order of its sums.
    wanted = e.dense()[ids.astype(int)]
    close = 0.0 if e.lowrank is None else 0.05  # terms go up to 1e5 and may cancel out
    np.testing.assert_allclose(values, wanted, rtol=0, atol=close)


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


@pytest.mark.parametrize("kind", ["int16", "int32", "int64"])
def test_negative_ids_count_from_the_end(small_embedding, kind):
    ids = np.arange(-707, 0, dtype=kind)
    np.testing.assert_array_equal(small_embedding.lookup(ids), small_embedding.dense())


@pytest.mark.parametrize("wrong", [-708, 707, 2**40, -(2**32), np.uint64(2**63)])
def test_an_id_outside_is_named(small_embedding, wrong):
    with pytest.raises(InputError, match=rf"^id {int(wrong)} is outside -707 \.\. 706"):
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
    stage = ["codes", "codebook", "weight", "scale"]
    assert names[2:6] == [f"stages.0.{name}" for name in stage]


@given(st.from_type(CompressedEmbedding))
def test_every_array_is_listed_once(e):
    arrays = [e.mean, e.tail]
    arrays += [e.gain.codes, e.gain.levels] if e.gain else []
    arrays += [e.order.starts] if e.order else []
    arrays += [e.zeros.bits] if e.zeros else []
    arrays += [e.lowrank.left, e.lowrank.right, e.lowrank.scale] if e.lowrank else []
    for stage in e.stages:
        arrays += [stage.codes, stage.codebook, stage.decoder.scale]
        arrays += [stage.decoder.weight] if isinstance(stage.decoder, DenseDecoder) else []
    listed = dict(e.tensors())
    assert sorted(map(id, listed.values())) == sorted(id(a) for a in arrays if a is not None)
    assert e.bytes_by_part() == {name: tensor.nbytes for name, tensor in listed.items()}


F32, I8, U8 = np.float32, np.int8, np.uint8
MEAN = np.zeros(3, F32)
BOOK = np.zeros((256, 3), I8)
GOOD = Stage(np.zeros((2, 1), U8), ColumnDecoder(np.ones(3, F32)))


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
            {"stages": (GOOD, Stage(GOOD.codes, ColumnDecoder(np.ones(2, F32))))},
            "stage 1 decodes",
        ),
        (
            {"stages": (Stage(GOOD.codes, DenseDecoder(np.zeros((8, 3), I8), np.ones(1, F32))),)},
            "scale of wrong shape",
        ),
        ({"stages": (Stage(GOOD.codes, GOOD.decoder, BOOK[:128]),)}, "codebook of wrong shape"),
        ({"stages": (Stage(GOOD.codes, GOOD.decoder, BOOK[..., None]),)}, "codebook of wrong"),
        ({"stages": (Stage(GOOD.codes, GOOD.decoder, BOOK + I8(64)),)}, "codebook holds 64"),
        ({"stages": (Stage(GOOD.codes, GOOD.decoder, BOOK + I8(-128)),)}, "codebook holds 128"),
        (
            {"stages": (Stage(GOOD.codes, GOOD.decoder, BOOK[:, :2]),)},
            "stage 0 stores 1 bytes a row for 3 values",
        ),
        ({"tail": np.zeros(2, F32)}, r"tail has shape \(2,\)"),
        (
            {
                "tail": MEAN,
                "lowrank": LowRank(np.zeros((2, 1), I8), np.zeros((1, 3), I8), np.ones(1, F32)),
            },
            "a tail beside low-rank factors",
        ),
        ({"gain": Gain(np.zeros(2, U8), np.ones(255, F32))}, r"gain levels have shape \(255,\)"),
        ({"gain": Gain(np.zeros(3, U8), np.ones(256, F32))}, r"gain codes have shape \(3,\)"),
        ({"gain": Gain(np.zeros(0, U8), np.ones(256, F32))}, r"gain codes have shape \(0,\)"),
        ({"gain": Gain(np.zeros((2, 1), U8), np.ones(256, F32))}, r"gain codes have shape \(2, 1"),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts, message):
    whole = {"rows": 2, "width": 3, "mean": MEAN, "stages": (GOOD,), **parts}
    with pytest.raises(FormatError, match=f"inconsistent embedding: .*{message}"):
        CompressedEmbedding(**whole)


def test_codebooks_may_use_all_of_their_seven_bits():
    book = np.where(np.arange(256) % 2, CODEBOOK_PEAK, -CODEBOOK_PEAK).astype(I8)[:, None]
    stage = Stage(np.array([[0, 1, 0], [1, 1, 1]], U8), GOOD.decoder, book)
    table = CompressedEmbedding(2, 3, MEAN, (stage,)).dense()
    assert table.tolist() == [[-63.0, 63.0, -63.0], [63.0] * 3]

"""The file format. The golden file must never change: old files stay readable, byte for byte."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save as safetensors_save

from toolkit import CompressedEmbedding
from toolkit.budget import FIXED_BYTES
from toolkit.embedding import DenseDecoder, DiagonalDecoder, LowRank, RowOrder, Stage
from toolkit.errors import FormatError

GOLDEN_LAYOUT = (
    '{"block": 2, "rows": 3, "stages": [{"bits": 3, "decoder": "dense"}, '
    '{"bits": 2, "decoder": "diagonal"}], "version": 1, "width": 2}'
)
GOLDEN_TENSORS = (
    '"lowrank.scale":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
    '"mean":{"dtype":"F32","shape":[2],"data_offsets":[4,12]},'
    '"stages.0.scale":{"dtype":"F32","shape":[2],"data_offsets":[12,20]},'
    '"stages.1.scale":{"dtype":"F32","shape":[2],"data_offsets":[20,28]},'
    '"order.starts":{"dtype":"I32","shape":[2],"data_offsets":[28,36]},'
    '"lowrank.left":{"dtype":"I8","shape":[3,1],"data_offsets":[36,39]},'
    '"lowrank.right":{"dtype":"I8","shape":[1,2],"data_offsets":[39,41]},'
    '"stages.0.weight":{"dtype":"I8","shape":[3,2],"data_offsets":[41,47]},'
    '"stages.0.codes":{"dtype":"U8","shape":[3,1],"data_offsets":[47,50]},'
    '"stages.1.codes":{"dtype":"U8","shape":[1,1],"data_offsets":[50,51]}'
)
GOLDEN_DATA = bytes.fromhex(
    "0000003e 0000003f000080bf 0000803e00000040 0000c03f00004040 0000000002000000"
    "01ff02 05fa 01fe0304817f 050207 01"
)


def golden_bytes():
    metadata = f'{{"__metadata__":{{"lighttoken":{json.dumps(GOLDEN_LAYOUT)}}},{GOLDEN_TENSORS}}}'
    header = metadata.encode().ljust(856)
    return len(header).to_bytes(8, "little") + header + GOLDEN_DATA


def golden():
    return CompressedEmbedding(
        rows=3,
        width=2,
        mean=np.array([0.5, -1.0], np.float32),
        stages=(
            Stage(
                np.array([[0b101], [0b010], [0b111]], np.uint8),
                DenseDecoder(
                    np.array([[1, -2], [3, 4], [-127, 127]], np.int8),
                    np.array([0.25, 2.0], np.float32),
                ),
            ),
            Stage(np.array([[0b01]], np.uint8), DiagonalDecoder(np.array([1.5, 3.0], np.float32))),
        ),
        lowrank=LowRank(
            np.array([[1], [-1], [2]], np.int8),
            np.array([[5, -6]], np.int8),
            np.array([0.125], np.float32),
        ),
        order=RowOrder(np.array([0, 2], np.int32), 2),
    )


def test_the_format_has_not_changed():
    assert golden().to_bytes() == golden_bytes()


def test_old_files_still_decode_to_the_same_values(tmp_path):
    path = tmp_path / "old.lighttoken"
    path.write_bytes(golden_bytes())
    values = CompressedEmbedding.load(path).dense()
    assert values.tolist() == [[-29.625, 237.25], [32.125, -242.25], [-29.0, 255.5]]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("store") / "table.lighttoken"


@given(embedding=st.from_type(CompressedEmbedding))
def test_a_saved_table_loads_as_it_was(path, embedding):
    embedding.save(path)
    loaded = CompressedEmbedding.load(path)
    assert (loaded.rows, loaded.width) == (embedding.rows, embedding.width)
    before, after = dict(embedding.tensors()), dict(loaded.tensors())
    assert list(before) == list(after)
    for name, tensor in before.items():
        assert after[name].dtype == tensor.dtype
        np.testing.assert_array_equal(after[name], tensor)
    np.testing.assert_array_equal(loaded.dense(), embedding.dense())


@given(embedding=st.from_type(CompressedEmbedding))
def test_equal_tables_give_equal_bytes(path, embedding):
    embedding.save(path)
    first = path.read_bytes()
    CompressedEmbedding.load(path).save(path)
    assert path.read_bytes() == first == embedding.to_bytes()
    assert embedding.nbytes == len(first) == path.stat().st_size


@given(st.from_type(CompressedEmbedding))
def test_strided_arrays_are_stored_as_contiguous_ones(embedding):
    strided = np.repeat(embedding.mean, 2)[::2]
    assert replace(embedding, mean=strided).to_bytes() == embedding.to_bytes()


def test_the_header_of_the_largest_layout_fits_its_allowance():
    width, planes = 4096, 6
    mean = np.zeros(width, np.float32)
    dense = Stage(
        np.zeros((1000, 512), np.uint8), DenseDecoder(np.zeros((4096, width), np.int8), mean)
    )
    plane = Stage(np.zeros((1000, 512), np.uint8), DiagonalDecoder(mean))
    rank = LowRank(np.zeros((1000, 32), np.int8), np.zeros((32, width), np.int8), mean[:32])
    order = RowOrder(64 * np.arange(16, dtype=np.int32), 64)
    embedding = CompressedEmbedding(1000, width, mean, (dense,) + (plane,) * planes, rank, order)
    assert embedding.nbytes - sum(embedding.bytes_by_part().values()) < FIXED_BYTES


LAYOUT = {"version": 1, "rows": 2, "width": 3, "block": None, "stages": []}
MEAN = np.zeros(3, np.float32)


def file_with(layout=LAYOUT, **tensors):
    text = layout if isinstance(layout, str) else json.dumps(layout)
    return safetensors_save({"mean": MEAN, **tensors}, metadata={"lighttoken": text})


def test_the_smallest_file_that_damaged_ones_below_start_from_is_whole(tmp_path):
    path = tmp_path / "whole"
    path.write_bytes(file_with())
    assert CompressedEmbedding.load(path).rows == 2


DAMAGED = {
    "newer version": (file_with({**LAYOUT, "version": 2}), "format version 2, .* reads up to 1"),
    "no version": (file_with({"rows": 2}), "format version None"),
    "truncated": (golden_bytes()[:-1], "cannot be read"),
    "truncated header": (golden_bytes()[:100], "cannot be read"),
    "longer": (golden_bytes() + b"x", "cannot be read"),
    "empty": (b"", "cannot be read"),
    "garbage": (b"garbage " * 40, "cannot be read"),
    "zeros": (bytes(64), "cannot be read"),
    "foreign": (safetensors_save({"mean": MEAN}), "holds no LightToken embedding"),
    "foreign metadata": (
        safetensors_save({"mean": MEAN}, metadata={"format": "pt"}),
        "holds no LightToken embedding",
    ),
    "not JSON": (file_with("{"), "cannot be read"),
    "a list": (file_with("[]"), "damaged layout"),
    "no rows": (file_with({"version": 1}), "damaged layout"),
    "rows as text": (file_with({**LAYOUT, "rows": "2"}), "table of 2 x 3"),
    "stage of nothing": (file_with({**LAYOUT, "stages": [{}]}), "stages.0.codes should be uint8"),
    "unknown decoder": (
        file_with(
            {**LAYOUT, "stages": [{"decoder": "curved", "bits": 3}]},
            **{"stages.0.codes": np.zeros((2, 1), np.uint8)},
        ),
        "'curved' is unknown here; upgrade",
    ),
    "wrong dtype": (file_with(mean=np.zeros(3)), "mean should be float32, found float64"),
    "wrong shape": (file_with(mean=np.zeros(4, np.float32)), "mean has shape"),
    "order left out": (file_with({**LAYOUT, "block": 1}), "order.starts .* found nothing"),
    "order damaged": (
        file_with({**LAYOUT, "block": 1}, **{"order.starts": np.array([0, 5], np.int32)}),
        "not a permutation",
    ),
    "order of impossible size": (
        file_with(
            {**LAYOUT, "block": 1, "rows": 10**15}, **{"order.starts": np.zeros(1, np.int32)}
        ),
        "row order is",
    ),
    "factors left out": (
        file_with(**{"lowrank.left": np.zeros((2, 1), np.int8)}),
        "lowrank.left should be float32, found int8",
    ),
}


@pytest.mark.parametrize(("content", "message"), DAMAGED.values(), ids=DAMAGED)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "damaged"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=message) as failure:
        CompressedEmbedding.load(path)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_a_missing_file_is_named(tmp_path, name):
    with pytest.raises(FormatError, match="is not here; give the file") as failure:
        CompressedEmbedding.load(tmp_path / name)
    assert str(tmp_path) in str(failure.value)

"""The file format. The golden file must never change: old files stay readable, byte for byte."""

import json
import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save as safetensors_save

from toolkit import CompressedEmbedding
from toolkit.errors import FormatError
from toolkit.table.components import ColumnDecoder, DenseDecoder, Gain, LowRank, RowOrder, Stage

GOLDEN_HEADER = (
    '{"block": 2, "rows": 3, "stages": [{"decoder": "dense", "latents": 3}, '
    '{"decoder": "columns", "latents": 2}], "version": 1, "width": 2}'
)
GOLDEN_TENSORS = (
    '"gain.levels":{"dtype":"F32","shape":[256],"data_offsets":[0,1024]},'
    '"lowrank.scale":{"dtype":"F32","shape":[1],"data_offsets":[1024,1028]},'
    '"mean":{"dtype":"F32","shape":[2],"data_offsets":[1028,1036]},'
    '"stages.0.scale":{"dtype":"F32","shape":[2],"data_offsets":[1036,1044]},'
    '"stages.1.scale":{"dtype":"F32","shape":[2],"data_offsets":[1044,1052]},'
    '"order.starts":{"dtype":"I32","shape":[2],"data_offsets":[1052,1060]},'
    '"lowrank.left":{"dtype":"I8","shape":[3,1],"data_offsets":[1060,1063]},'
    '"lowrank.right":{"dtype":"I8","shape":[1,2],"data_offsets":[1063,1065]},'
    '"stages.0.weight":{"dtype":"I8","shape":[3,2],"data_offsets":[1065,1071]},'
    '"stages.1.codebook":{"dtype":"I8","shape":[256,1],"data_offsets":[1071,1327]},'
    '"gain.codes":{"dtype":"U8","shape":[2],"data_offsets":[1327,1329]},'
    '"stages.0.codes":{"dtype":"U8","shape":[3,1],"data_offsets":[1329,1332]},'
    '"stages.1.codes":{"dtype":"U8","shape":[1,2],"data_offsets":[1332,1334]}'
)
GOLDEN_DATA = (
    struct.pack("<256f", *(index / 4 for index in range(256)))
    + bytes.fromhex("0000003e 0000003f000080bf 0000803e00000040 0000c03f00004040")
    + bytes.fromhex("0000000002000000 01ff02 05fa 01fe0304817f")
    + bytes(range(-31 % 256, 256))
    + bytes(range(32))
    + bytes(64) * 3
    + bytes([1])
    + bytes.fromhex("0208 050207 0020")
)


def file_of(header, tensors, data):
    """A file as the format describes it: header length, header padded to eight bytes, data."""
    metadata = f'{{"__metadata__":{{"lighttoken":{json.dumps(header)}}},{tensors}}}'.encode()
    header = metadata.ljust(-(-len(metadata) // 8) * 8)
    return len(header).to_bytes(8, "little") + header + data


def golden_bytes():
    return file_of(GOLDEN_HEADER, GOLDEN_TENSORS, GOLDEN_DATA)


def golden():
    book = np.zeros((256, 1), np.int8)
    book[:63, 0] = np.arange(-31, 32)
    book[255] = 1
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
            Stage(
                np.array([[0, 32]], np.uint8),
                ColumnDecoder(np.array([1.5, 3.0], np.float32)),
                book,
            ),
        ),
        lowrank=LowRank(
            np.array([[1], [-1], [2]], np.int8),
            np.array([[5, -6]], np.int8),
            np.array([0.125], np.float32),
        ),
        order=RowOrder(np.array([0, 2], np.int32), 2),
        gain=Gain(np.array([2, 8], np.uint8), np.arange(256, dtype=np.float32) / 4),
    )


TAIL_HEADER = (
    '{"block": null, "rows": 3, "stages": [{"decoder": "columns", "latents": 2}], '
    '"version": 1, "width": 2}'
)
TAIL_TENSORS = (
    '"mean":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},'
    '"stages.0.scale":{"dtype":"F32","shape":[2],"data_offsets":[8,16]},'
    '"tail":{"dtype":"F32","shape":[2],"data_offsets":[16,24]},'
    '"stages.0.codes":{"dtype":"U8","shape":[1,1],"data_offsets":[24,25]}'
)
TAIL_DATA = bytes.fromhex("0000003f000080bf 0000c03f00004040 0000004000000041 01")


def test_the_format_has_not_changed():
    assert golden().to_bytes() == golden_bytes()


def test_old_files_still_decode_to_the_same_values(tmp_path):
    path = tmp_path / "old.lighttoken"
    path.write_bytes(golden_bytes())
    values = CompressedEmbedding.load(path).dense()
    # By hand: mean + gain * (low rank + signs @ weight * scale + [-31, 1] * [1.5, 3]).
    first = [0.5 + 0.5 * (0.625 - 32.25 - 46.5), -1 + 0.5 * (-0.75 + 242 + 3)]
    assert values.tolist() == [first, [0.5 + 2 * 31.625, -1 + 2 * -241.25], [-29.0, 255.5]]


def test_old_files_with_a_tail_still_decode_to_the_same_values(tmp_path):
    path = tmp_path / "old.lighttoken"
    path.write_bytes(file_of(TAIL_HEADER, TAIL_TENSORS, TAIL_DATA))
    loaded = CompressedEmbedding.load(path)
    assert loaded.dense().tolist() == [[2.0, -4.0], [2.0, 8.0], [2.0, 8.0]]
    assert loaded.to_bytes() == path.read_bytes()


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


def test_only_files_with_marked_rows_need_a_new_reader(pack_table, path):
    """An older one would decode such rows to something near zero."""
    for zeros, version in (((), 1), ((3,), 2)):
        pack_table(37, 6, dense=[(30, 13, 5)], zeros=zeros).save(path)
        with safe_open(path, framework="numpy") as file:
            assert json.loads(file.metadata()["lighttoken"])["version"] == version
        assert CompressedEmbedding.load(path).lookup(3).any() == (not zeros)


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


HEADER = {"version": 1, "rows": 2, "width": 3, "block": None, "stages": []}
MEAN = np.zeros(3, np.float32)


def file_with(header=HEADER, **tensors):
    text = header if isinstance(header, str) else json.dumps(header)
    return safetensors_save({"mean": MEAN, **tensors}, metadata={"lighttoken": text})


def test_the_smallest_file_that_damaged_ones_below_start_from_is_whole(tmp_path):
    path = tmp_path / "whole"
    path.write_bytes(file_with())
    assert CompressedEmbedding.load(path).rows == 2


ONE_STAGE = {**HEADER, "stages": [{"decoder": "columns", "latents": 3}]}
CODES, LEVELS = np.zeros((2, 1), np.uint8), np.zeros(256, np.float32)


def file_with_stage(header=ONE_STAGE, **changed):
    stage = {"codes": CODES, "scale": MEAN, "codebook": np.zeros((256, 3), np.int8), **changed}
    tensors = {f"stages.0.{name}": tensor for name, tensor in stage.items()}
    return file_with(header, **tensors)


def test_the_smallest_file_with_a_codebook_is_whole(tmp_path):
    path = tmp_path / "whole"
    path.write_bytes(file_with_stage())
    assert CompressedEmbedding.load(path).stages[0].values_per_byte == 3


DAMAGED = {
    "codebook too short": (
        file_with_stage(codebook=np.zeros((255, 3), np.int8)),
        "codebook of wrong shape",
    ),
    "codebook without columns": (
        file_with_stage(codebook=np.zeros(256, np.int8)),
        "damaged header",
    ),
    "codebook of too few values": (
        file_with_stage(codebook=np.zeros((256, 2), np.int8)),
        "stores 1 bytes a row for 3 values",
    ),
    "codebook beyond its peak": (
        file_with_stage(codebook=np.full((256, 3), -64, np.int8)),
        "codebook holds 64",
    ),
    "codebook of floats": (
        file_with_stage(codebook=np.zeros((256, 3), np.float32)),
        "stages.0.codebook should be int8, found float32",
    ),
    "codebook of bytes": (
        file_with_stage(codebook=np.zeros((256, 3), np.uint8)),
        "stages.0.codebook should be int8, found uint8",
    ),
    "latents that the decoder has not": (
        file_with_stage({**HEADER, "stages": [{"decoder": "columns", "latents": 4}]}),
        "says 4 latent values and holds a decoder of 3",
    ),
    "stage of too many rows": (file_with_stage(codes=CODES[[0, 1, 1]]), "covers 3 rows"),
    "gain without levels": (
        file_with(**{"gain.codes": CODES[:, 0]}),
        "gain.levels should be float32, found nothing",
    ),
    "gain levels too few": (
        file_with(**{"gain.codes": CODES[:, 0], "gain.levels": LEVELS[:128]}),
        r"gain levels have shape \(128,\)",
    ),
    "gain codes too many": (
        file_with(**{"gain.codes": CODES[[0, 0, 0], 0], "gain.levels": LEVELS}),
        r"gain codes have shape \(3,\)",
    ),
    "gain codes of another type": (
        file_with(**{"gain.codes": MEAN[:2], "gain.levels": LEVELS}),
        "gain.codes should be uint8, found float32",
    ),
    "tail beside low rank": (
        file_with(
            tail=MEAN,
            **{
                "lowrank.left": np.zeros((2, 1), np.float32),
                "lowrank.right": np.zeros((1, 3), np.float32),
            },
        ),
        "a tail beside low-rank factors",
    ),
    "tail too short": (file_with(tail=MEAN[:2]), r"tail has shape \(2,\)"),
    "tail of float64": (file_with(tail=np.zeros(3)), "tail should be float32, found float64"),
    "newer version": (file_with({**HEADER, "version": 3}), "format version 3, .* reads up to 2"),
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
    "a list": (file_with("[]"), "damaged header"),
    "no rows": (file_with({"version": 1}), "damaged header"),
    "rows as text": (file_with({**HEADER, "rows": "2"}), "table of 2 x 3"),
    "stage of nothing": (file_with({**HEADER, "stages": [{}]}), "stages.0.codes should be uint8"),
    "unknown decoder": (
        file_with(
            {**HEADER, "stages": [{"decoder": "curved", "latents": 3}]},
            **{"stages.0.codes": np.zeros((2, 1), np.uint8)},
        ),
        "'curved' is unknown here; upgrade",
    ),
    "wrong dtype": (file_with(mean=np.zeros(3)), "mean should be float32, found float64"),
    "wrong shape": (file_with(mean=np.zeros(4, np.float32)), "mean has shape"),
    "order left out": (file_with({**HEADER, "block": 1}), "order.starts .* found nothing"),
    "order damaged": (
        file_with({**HEADER, "block": 1}, **{"order.starts": np.array([0, 5], np.int32)}),
        "not a permutation",
    ),
    "order of impossible size": (
        file_with({**HEADER, "block": 1, "rows": 10**9}, **{"order.starts": np.zeros(1, np.int32)}),
        "which no method makes",
    ),
    "one block of impossible size": (
        file_with(
            {**HEADER, "block": 2**31 - 1, "rows": 2**31 - 1},
            **{"order.starts": np.zeros(1, np.int32)},
        ),
        "which no method makes",
    ),
    "more rows than ids": (file_with({**HEADER, "rows": 10**15}), "ids have 31 bits"),
    "a block that is no number": (
        file_with({**HEADER, "block": 1.5}, **{"order.starts": np.zeros(2, np.int32)}),
        "row block of 1.5",
    ),
    "rows of 6000 digits": (file_with('{"version": 1, "rows": ' + "9" * 6000 + "}"), "6000 digits"),
    "nested deeply": (file_with("[" * 100_000), "nested deeper"),
    "not a number": (file_with(mean=np.full(3, np.nan, np.float32)), "mean holds NaN or infinity"),
    "infinity": (file_with(mean=np.full(3, np.inf, np.float32)), "mean holds NaN or infinity"),
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


def test_a_codebook_of_no_values_is_refused(tmp_path):
    path = tmp_path / "damaged"
    path.write_bytes(file_with_stage(codebook=np.zeros((256, 0), np.int8)))
    with pytest.raises(FormatError):
        CompressedEmbedding.load(path)


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_a_missing_file_is_named(tmp_path, name):
    with pytest.raises(FormatError, match="is not here; give the file") as failure:
        CompressedEmbedding.load(tmp_path / name)
    assert str(tmp_path) in str(failure.value)

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from toolkit.errors import InputError
from toolkit.table.bitpack import bytes_per_row, pack, sign_table, signs, unpack

bit_matrices = hnp.arrays(bool, st.tuples(st.integers(0, 9), st.integers(1, 40)))


@given(bit_matrices)
def test_unpack_is_the_inverse_of_pack(bits):
    packed = pack(bits)
    assert packed.dtype == np.uint8
    assert packed.shape == (len(bits), bytes_per_row(bits.shape[1]))
    np.testing.assert_array_equal(unpack(packed, bits.shape[1]), bits)


@given(bit_matrices)
def test_column_j_is_bit_j_mod_8_of_byte_j_div_8(bits):
    packed = pack(bits)
    for (row, column), bit in np.ndenumerate(bits):
        assert (packed[row, column // 8] >> (column % 8)) & 1 == bit


@given(bit_matrices)
def test_bits_past_the_last_column_are_zero(bits):
    width = bits.shape[1]
    assert not unpack(pack(bits), 8 * bytes_per_row(width))[:, width:].any()


def test_the_first_bit_is_the_least_significant():
    assert pack(np.array([[True] + [False] * 8])).tolist() == [[1, 0]]
    assert pack(np.array([[False] * 8 + [True]])).tolist() == [[0, 1]]


def test_unpack_keeps_leading_dimensions():
    codes = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert unpack(codes, 20).shape == (2, 4, 20)


def test_sign_table_less_one_is_the_sign_of_each_bit():
    table = sign_table()
    assert table.dtype == np.uint8
    every_byte = np.arange(256, dtype=np.uint8)[:, None]
    np.testing.assert_array_equal(table.astype(int) - 1, np.where(unpack(every_byte, 8), 1, -1))


@given(bit_matrices)
def test_signs_of_packed_bits_are_plus_and_minus_one(bits):
    assert signs().dtype == np.int8
    packed = pack(bits)
    read = signs()[packed].reshape(len(bits), 8 * packed.shape[1])[:, : bits.shape[1]]
    np.testing.assert_array_equal(read, np.where(bits, 1, -1))


def test_the_wrong_number_of_bytes_is_named():
    with pytest.raises(InputError, match="9 bits take 2 bytes a row, got 1"):
        unpack(np.zeros((4, 1), np.uint8), 9)


def test_pack_wants_a_matrix():
    with pytest.raises(InputError, match="got 1 dimensions"):
        pack(np.zeros(8, bool))

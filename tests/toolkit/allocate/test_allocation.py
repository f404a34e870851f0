from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from toolkit import CompressedEmbedding
from toolkit.allocate.allocation import STAGE_COLUMNS, Allocation, Subquantizer, allocation_nbytes
from toolkit.table.embedding import ColumnDecoder, DenseDecoder, Gain, RowOrder, Stage


def nbytes_of(allocation, rows, width):
    shape = {name: value for name, value in vars(allocation).items() if name not in NO_SHAPE}
    return allocation_nbytes(rows, width, **shape)


NO_SHAPE = ("nbytes", "expected_error")


def file_of(allocation, rows, width):
    """A table of the allocation's shapes, all its values zero."""
    scale = np.zeros(width, np.float32)

    def codes(n, groups):
        return np.zeros((n, groups), np.uint8)

    def book(k):
        return np.zeros((256, k), np.int8)

    stages = [
        Stage(
            codes(allocation.covered, subquantizer.groups),
            DenseDecoder(
                np.zeros((subquantizer.groups * subquantizer.dimension, width), np.int8), scale
            ),
            book(subquantizer.dimension),
        )
        for subquantizer in allocation.subquantizers
    ]
    stages += [
        Stage(codes(n, -(-width // k)), ColumnDecoder(scale), book(k))
        for n, k in allocation.stages()
    ]
    order = None
    if allocation.block:
        order = RowOrder(np.arange(0, rows, allocation.block, dtype=np.int32), allocation.block)
    gain = (
        Gain(codes(allocation.covered, 1)[:, 0], np.zeros(256, np.float32))
        if allocation.gain
        else None
    )
    tail = scale if allocation.covered < rows else None
    return CompressedEmbedding(rows, width, scale, tuple(stages), order=order, gain=gain, tail=tail)


@given(st.data(), st.integers(1, 2000), st.integers(1, 300))
def test_the_bytes_of_a_layout_are_those_of_its_file_and_little_more(data, rows, width):
    covered = data.draw(st.integers(1, rows))
    columns = data.draw(st.sampled_from([0, 0, 1, 3, 8, 24]))
    subquantizers = st.builds(Subquantizer, st.integers(1, 40), st.integers(1, 64))
    allocation = Allocation(
        subquantizers=()
        if columns
        else tuple(data.draw(st.lists(subquantizers, min_size=1, max_size=3))),
        covered=covered,
        row_counts=tuple(
            sorted(data.draw(st.lists(st.integers(1, covered), max_size=6)), reverse=True)
        ),
        gain=data.draw(st.booleans()),
        block=data.draw(st.sampled_from([0, 8, 64])),
        nbytes=0,
        expected_error=0.0,
        columns=columns,
    )
    promised, real = nbytes_of(allocation, rows, width), file_of(allocation, rows, width).nbytes
    assert real <= promised
    assert promised <= 1.03 * real + 1024


def test_the_header_of_a_very_large_table_fits():
    allocation = Allocation((Subquantizer(1, 1),), 2_000_000, (), True, 8, 0, 0.0)
    assert file_of(allocation, 2_000_001, 3).nbytes <= nbytes_of(allocation, 2_000_001, 3)


def test_planes_of_a_layout_are_the_columns_code_and_the_tiers():
    allocation = Allocation((), 100, (50, 10), True, 0, 0, 0.0, columns=3)
    assert allocation.stages() == ((100, 3), (50, STAGE_COLUMNS), (10, STAGE_COLUMNS))
    assert allocation.bytes_per_row(20) == 7 + 1
    subquantizers = replace(
        allocation, subquantizers=(Subquantizer(4, 2), Subquantizer(5, 6)), columns=0, gain=False
    )
    assert subquantizers.stages() == ((50, STAGE_COLUMNS), (10, STAGE_COLUMNS))
    assert subquantizers.bytes_per_row(20) == 9

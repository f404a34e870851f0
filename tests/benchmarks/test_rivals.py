"""Every rival keeps to its bytes, and what it says it stores is what it would store."""

import numpy as np
import pytest
from quality import gaussian_bound, measure
from rivals.codebooks import LocalSearch, Product, Residual, _codebooks, _parts
from rivals.registry import Toolkit, methods
from rivals.result import CannotFitError, Result, TooSlowError, pack
from rivals.rotation import lloyd_max, rotation_quantizer
from rivals.rtn import RoundToNearest
from rivals.tensor_train import tensor_train

from toolkit.allocate.spectrum import covariance_spectrum
from toolkit.methods.compress import METHODS

needs_faiss = {
    "pq": Product(),
    "opq": Product(rotate=True),
    "rvq": Residual(),
    "lsq": LocalSearch(),
}
FITTED = {
    "rotation": rotation_quantizer,
    "tensor-train": tensor_train,
    "svd": Toolkit("svd"),
    "lighttoken": Toolkit("lighttoken"),
    **needs_faiss,
}


@pytest.fixture(params=FITTED)
def fitted(request):
    """A rival that is given bytes."""
    if request.param in needs_faiss:
        faiss = pytest.importorskip("faiss", reason="needs faiss: pip install -e '.[bench]'")
        faiss.omp_set_num_threads(1)  # on tables this small threads only wait for one another
    return FITTED[request.param]


def bytes_at(table, ratio):
    return int(table.size * 4 / ratio)


def test_more_bytes_mean_less_error_and_none_takes_too_many(fitted, gaussian_table):
    errors = []
    for ratio in (24, 12, 6):
        allowed = bytes_at(gaussian_table, ratio)
        result = fitted(gaussian_table, allowed, 0)
        assert result.nbytes <= allowed
        assert result.decoded.shape == gaussian_table.shape
        assert result.decoded.dtype == np.float32
        assert result.settings
        errors.append(((gaussian_table - result.decoded) ** 2).sum())
    assert errors[0] > errors[1] > errors[2]


def test_none_beats_the_bound_on_a_gaussian(fitted, gaussian_table):
    rows = len(gaussian_table)
    spectrum = covariance_spectrum(gaussian_table)
    uniform = np.full(rows, 1 / rows)
    for ratio in (20, 8):
        result = fitted(gaussian_table, bytes_at(gaussian_table, ratio), 0)
        error = measure(gaussian_table, result.decoded, uniform).relative_error
        assert error > gaussian_bound(spectrum, 8 * result.nbytes / rows)


def test_a_budget_that_nothing_fits_is_refused(fitted, gaussian_table):
    with pytest.raises(ValueError, match=r"bytes|fit"):
        fitted(gaussian_table, 64, 0)


def test_equal_seeds_give_equal_tables(fitted, gaussian_table):
    allowed = bytes_at(gaussian_table, 16)
    first, second = (fitted(gaussian_table, allowed, 5).decoded for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(("bits", "group"), [(2, 32), (3, 16), (4, 32), (8, 32)])
def test_rtn_stores_codes_and_one_half_a_group(gaussian_table, bits, group):
    result = RoundToNearest(bits, group)(gaussian_table, 1, 0)
    entries = gaussian_table.size
    assert result.nbytes == entries * bits // 8 + entries // group * 2
    assert result.decoded.shape == gaussian_table.shape


def test_rtn_error_falls_with_bits_and_an_odd_width_is_kept():
    table = np.random.default_rng(0).normal(size=(50, 37)).astype(np.float32)
    results = [RoundToNearest(bits)(table, 1, 0) for bits in (2, 3, 4, 8)]
    errors = [((table - result.decoded) ** 2).sum() for result in results]
    assert errors == sorted(errors, reverse=True)
    assert results[2].nbytes == 50 * 37 * 4 // 8 + 50 * 2 * 2


def test_rotation_stores_codes_norms_mean_and_a_seed(gaussian_table):
    rows, width = gaussian_table.shape
    allowed = bytes_at(gaussian_table, 16)
    result = rotation_quantizer(gaussian_table, allowed, 0)
    fixed = 2 * rows + 2 * width + 8
    bits = 8 * (allowed - fixed - 1) // rows
    assert result.nbytes == fixed + -(-rows * bits // 8)
    assert allowed - result.nbytes < rows // 8 + 2  # no whole bit a row is left over


def test_rotation_below_one_bit_drops_coordinates(gaussian_table):
    result = rotation_quantizer(gaussian_table, bytes_at(gaussian_table, 40), 0)
    assert result.settings == "1 bit for 9 of 32 coordinates"


def test_lloyd_max_has_the_known_levels():
    np.testing.assert_allclose(lloyd_max(1), [-0.7979, 0.7979], atol=1e-4)
    np.testing.assert_allclose(lloyd_max(2), [-1.510, -0.4528, 0.4528, 1.510], atol=1e-3)


def test_tensor_train_stores_its_cores_in_half(gaussian_table):
    result = tensor_train(gaussian_table, bytes_at(gaussian_table, 8), 0)
    assert {core.dtype for core in result.stored.values()} == {np.dtype(np.float16)}
    shapes = [core.shape for core in result.stored.values()]
    assert shapes[0][1] == shapes[1][0]
    assert shapes[1][2] == shapes[2][0]
    assert result.nbytes == 2 * sum(int(np.prod(shape)) for shape in shapes)


def test_tensor_train_is_exact_where_the_ranks_are_full():
    table = np.random.default_rng(0).normal(size=(60, 12)).astype(np.float32)
    np.testing.assert_allclose(tensor_train(table, 10**6, 0).decoded, table, atol=0.01)


def test_codebooks_count_with_the_codes(gaussian_table):
    pytest.importorskip("faiss", reason="needs faiss: pip install -e '.[bench]'")
    rows, width = gaussian_table.shape
    allowed = bytes_at(gaussian_table, 12)
    parts, _, _, bits, _ = Product()(gaussian_table, allowed, 0).settings.split()
    expected = rows * -(-int(parts) * int(bits) // 8) + 2 ** int(bits) * width * 2
    assert Product()(gaussian_table, allowed, 0).nbytes == expected

    result = Product(rotate=True)(gaussian_table, allowed, 0)
    assert result.stored["rotation"].nbytes == width * width * 2

    result = Residual()(gaussian_table, allowed, 0)
    count, _, _, bits, _ = result.settings.split()
    codes = rows * -(-int(count) * int(bits) // 8)
    assert result.nbytes == codes + int(count) * 2 ** int(bits) * width * 2 + 2 * width


def test_the_number_of_codebooks_is_the_most_that_fit():
    assert _parts(384, 8, 61) == 48
    assert _parts(384, 4, 1) == 2
    assert _parts(384, 8, 0) == 0
    count = _codebooks(1000, 64, 4, 50_000)
    assert 1000 * -(-count * 4 // 8) + count * 16 * 64 * 2 <= 50_000
    count += 1
    assert 1000 * -(-count * 4 // 8) + count * 16 * 64 * 2 > 50_000


def test_local_search_says_when_it_would_be_too_slow(gaussian_table, monkeypatch):
    pytest.importorskip("faiss", reason="needs faiss: pip install -e '.[bench]'")
    monkeypatch.setattr("rivals.codebooks._MOST_WORK", 1)
    with pytest.raises(TooSlowError, match="operations"):
        LocalSearch()(gaussian_table, bytes_at(gaussian_table, 12), 0)


def test_pack_is_a_stream_of_whole_bytes():
    codes = np.array([[1, 2, 3], [0, 5, 7]], np.int64)
    stream = np.unpackbits(pack(codes, 3))
    assert pack(codes, 3).nbytes == 3
    values = stream[:18].reshape(-1, 3) @ [1, 2, 4]
    np.testing.assert_array_equal(values, codes.ravel())


def test_nbytes_are_those_of_the_arrays():
    stored = {"a": np.zeros(3, np.uint8), "b": np.zeros(2, np.float16)}
    assert Result(np.zeros((1, 1), np.float32), stored, "").nbytes == 7


def test_the_registry_holds_the_toolkits_methods_and_the_tokenizers_prior():
    assert set(METHODS) <= set(methods())
    assert "lighttoken+tokenizer" not in methods()
    assert "lighttoken+tokenizer" in methods(np.full(4, 0.25))


def test_the_bound_is_that_of_one_gaussian():
    assert gaussian_bound(np.full(8, 3.0), 16) == pytest.approx(2.0**-4)
    assert gaussian_bound(np.array([1.0, 0.0]), 0) == pytest.approx(1.0)


def test_weights_choose_the_rows_that_count():
    table = np.array([[1.0, 0.0], [-1.0, 0.0]], np.float32)
    decoded = np.array([[1.0, 0.0], [0.0, 0.0]], np.float32)
    even = measure(table, decoded, np.array([0.5, 0.5]))
    assert even.relative_error == pytest.approx(even.weighted_error) == pytest.approx(0.5)
    assert measure(table, decoded, np.array([0.9, 0.1])).weighted_cosine == pytest.approx(0.9)


def test_cannot_fit_is_a_value_error():
    assert issubclass(CannotFitError, ValueError)

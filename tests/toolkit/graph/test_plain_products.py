"""Products with a table that stand for a look-up or a head; products with any other matrix stay."""

import numpy as np
import pytest

from toolkit.graph.heads import find_heads
from toolkit.graph.plain import make_plain
from toolkit.graph.tables import find_token_table

ROWS, WIDTH = 30, 4
RNG = np.random.default_rng(5)
TABLE = RNG.normal(size=(ROWS, WIDTH)).astype(np.float32)
OTHER = RNG.normal(size=(ROWS, WIDTH)).astype(np.float32)
SIGNATURE = "(int64[b, s] ids) => (float[b, s, v] y)"
IDS = RNG.integers(0, ROWS, (2, 5))
HEADS = {
    "letters": 'y = Einsum<equation = "bsd,vd->bsv">(r, {0})',
    "dots": 'y = Einsum<equation = "...d,vd->...v">(r, {0})',
    "first": "u = Transpose<perm = [0, 2, 1]>(r) z = MatMul({0}, u) "
    "y = Transpose<perm = [0, 2, 1]>(z)",
}
HOT = "hot = OneHot<axis = -1>(ids, depth, {0}) "
COMPARED = "at = Unsqueeze(ids, last) same = Equal({1}) hot = Cast<to = 1>(same) "
PRODUCT = "y = MatMul(hot, table)"


@pytest.mark.parametrize("name", HEADS)
def test_a_head_that_shares_the_table_becomes_a_product_by_its_transpose(graph, run_model, name):
    body = f"r = Gather(table, ids) {HEADS[name].format('table')}"
    before, after = (graph(SIGNATURE, body, table=TABLE) for _ in range(2))
    assert make_plain(after) == 1
    assert len(find_heads(after.graph, find_token_table(after.graph))) == 1
    outputs = [run_model(each, ids=IDS)[0] for each in (before, after)]
    np.testing.assert_allclose(*outputs, atol=1e-5)


@pytest.mark.parametrize("name", HEADS)
def test_products_with_other_matrices_stay(graph, name):
    body = f"r = Gather(table, ids) {HEADS[name].format('other')}"
    model = graph(SIGNATURE, body, table=TABLE, other=OTHER)
    before = [node.op_type for node in model.graph]
    assert make_plain(model) == 0
    assert [node.op_type for node in model.graph] == before


@pytest.mark.parametrize(
    "equation",
    ["bsd,vd->bvs", "bvd,vd->bvd", "bsd,vd->bs", "ddd,vd->ddv", "bsd,vx->bsv"],
)
def test_an_einsum_that_is_no_product_stays(graph, equation):
    body = f'r = Gather(table, ids) y = Einsum<equation = "{equation}">(r, table)'
    assert make_plain(graph(SIGNATURE, body, table=TABLE)) == 0


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (HOT.format("off_on") + PRODUCT, 1),
        (HOT.format("on_off") + PRODUCT, 0),
        (COMPARED.format("", "at, every") + PRODUCT, 1),
        (COMPARED.format("", "every, at") + PRODUCT, 1),
        (COMPARED.format("", "at, backwards") + PRODUCT, 0),
        (HOT.format("off_on") + 'y = Einsum<equation = "bsv,vd->bsd">(hot, table)', 1),
        (HOT.format("off_on") + 'y = Einsum<equation = "bsv,dv->bsd">(hot, square)', 0),
    ],
)
def test_one_hot_vectors_by_a_table_are_a_look_up(graph, run_model, body, found):
    given = {
        "table": TABLE,
        "square": TABLE.T.copy(),
        "depth": np.array([ROWS]),
        "off_on": np.array([0, 1], np.float32),
        "on_off": np.array([1, 0], np.float32),
        "every": np.arange(ROWS),
        "backwards": np.arange(ROWS)[::-1].copy(),
        "last": np.array([-1]),
    }
    given = {name: array for name, array in given.items() if name in body}
    before, after = (graph(SIGNATURE, body, **given) for _ in range(2))
    assert make_plain(after) == found
    outputs = [run_model(each, ids=IDS)[0] for each in (before, after)]
    np.testing.assert_array_equal(*outputs)

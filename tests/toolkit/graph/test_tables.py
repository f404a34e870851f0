"""Tables are found by who reads them, whatever they are called."""

import numpy as np
import pytest

from toolkit.errors import InputError
from toolkit.graph.tables import find_tables, find_token_table

IDS = "(int64[b,s] ids) => (float[b,s,w] rows)"


def table(rows=20, width=4, dtype=np.float32):
    return np.zeros((rows, width), dtype)


def test_a_table_read_by_the_ids_is_found(graph):
    model = graph(IDS, "rows = Gather(t, ids)", t=table())
    found = find_token_table(model.graph)
    assert (found.name, found.rows, found.width, found.nbytes) == ("t", 20, 4, 320)
    assert found.ids_input == "ids"
    assert [node.op_type for node in found.gathers] == ["Gather"]
    assert found.others == ()


@pytest.mark.parametrize(
    "steps",
    [
        "i = Cast<to = 6>(ids) rows = Gather(t, i)",
        "i = Reshape(ids, flat) rows = Gather(t, i)",
        "i = Unsqueeze(ids, last) rows = Gather(t, i)",
        "i = Identity(ids) j = Cast<to = 6>(i) k = Flatten(j) rows = Gather<axis = 0>(t, k)",
    ],
)
def test_ids_are_followed_through_steps_that_keep_them(graph, steps):
    model = graph(
        IDS, steps, t=table(), flat=np.array([-1], np.int64), last=np.array([1], np.int64)
    )
    assert find_token_table(model.graph).name == "t"


@pytest.mark.parametrize("kind", ["int32", "int64"])
def test_both_integer_types_are_ids(graph, kind):
    model = graph(f"({kind}[b] ids) => (float[b,w] rows)", "rows = Gather(t, ids)", t=table())
    assert find_token_table(model.graph).ids_input == "ids"


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_float_type_is_a_table(graph, dtype):
    model = graph("(int64[b] ids) => (rows)", "rows = Gather(t, ids)", t=table(dtype=dtype))
    assert find_token_table(model.graph).nbytes == 80 * np.dtype(dtype).itemsize


POSITIONS = """
    tokens = Gather(bias, ids)
    shape = Shape(ids)
    length = Gather(shape, one)
    range = Range(zero, length, one)
    places = Gather(word_embeddings, range)
    sum = Add(tokens, places)
    types = Gather(type_table, token_type_ids)
    rows = Add(sum, types)
"""


def test_use_decides_and_neither_name_nor_size(graph):
    """The positions' table is larger and called after words; the tokens' one is called bias."""
    model = graph(
        "(int64[b,s] ids, int64[b,s] token_type_ids) => (float[b,s,4] rows)",
        POSITIONS,
        bias=table(20),
        word_embeddings=table(512),
        type_table=table(2),
        zero=np.array(0, np.int64),
        one=np.array(1, np.int64),
    )
    assert find_token_table(model.graph).name == "bias"
    assert [found.name for found in find_tables(model.graph)] == ["bias", "type_table"]


def test_positions_sliced_from_a_constant_are_no_ids(graph):
    model = graph(
        "(int64[b,s] ids) => (rows, places)",
        """
        shape = Shape<start = 1>(ids)
        zero = Constant<value_ints = [0]>()
        range = Slice(numbers, zero, shape)
        places = Gather(position, range)
        rows = Gather(t, ids)
        """,
        numbers=np.arange(512),
        position=table(512),
        t=table(20),
    )
    assert [found.name for found in find_tables(model.graph)] == ["t"]


def test_the_largest_of_several_tables_is_the_token_table(graph):
    model = graph(
        "(int64[b] ids) => (x, y)",
        "x = Gather(small, ids) y = Gather(large, ids)",
        small=table(20, 2),
        large=table(20, 8),
    )
    assert find_token_table(model.graph).name == "large"


def test_a_table_gathered_twice_is_one_table_with_two_readers(graph):
    model = graph(
        "(int64[b] ids, int64[b] labels) => (x, y)",
        "x = Gather(t, ids) y = Gather(t, labels)",
        t=table(),
    )
    (found,) = find_tables(model.graph)
    assert len(found.gathers) == 2
    assert found.others == ()


def test_a_head_that_shares_the_table_is_named(graph):
    model = graph(
        "(int64[b] ids) => (logits)",
        "x = Gather(t, ids) head = Transpose<perm = [1, 0]>(t) logits = MatMul(x, head)",
        t=table(),
    )
    assert [node.op_type for node in find_token_table(model.graph).others] == ["Transpose"]


@pytest.mark.parametrize(
    "body",
    [
        "rows = Gather<axis = 1>(t, ids)",  # columns
        "c = CumSum(ids, numbers) rows = Gather(t, c)",  # other rows than the ids'
        "rows = Gather(ids, numbers)",  # the ids are the data
        "rows = Gather(numbers, ids)",  # no float matrix
    ],
)
def test_what_is_no_lookup_by_ids_is_refused_with_the_inputs_named(graph, body):
    model = graph("(int64[b] ids) => (rows)", body, t=table(), numbers=np.arange(3))
    with pytest.raises(InputError, match=r"\(ids\).*; give a model that takes token ids") as error:
        find_token_table(model.graph)
    assert "\n" not in str(error.value)


def test_a_model_of_images_has_no_token_table(graph):
    model = graph("(float[b,3] pixels) => (y)", "y = MatMul(pixels, w)", w=table(3))
    with pytest.raises(InputError, match=r"no token table.*\(pixels\)"):
        find_token_table(model.graph)


def test_tables_in_a_branch_are_found_by_the_ids_outside(graph):
    model = graph(
        "(int64[b] ids, bool which) => (float[b,4] rows)",
        """
        rows = If (which) <
            then_branch = g1 () => (float[b,4] x) { x = Gather(t, ids) },
            else_branch = g2 () => (float[b,4] y) { y = Gather(t, ids) }
        >
        """,
        t=table(),
    )
    assert len(find_token_table(model.graph).gathers) == 2


@pytest.mark.parametrize(
    "body",
    [
        "m = Less(ids, limit) i = Where(m, ids, other) rows = Gather(t, i)",
        "i = Clip(ids, zero, limit) rows = Gather(t, i)",
        "i = Mod(ids, limit) rows = Gather(t, i)",
        "i = Add(ids, other) rows = Gather(t, i)",
        "i = Concat<axis = 0>(prefix, ids) rows = Gather(t, i)",
        "i = Pad(ids, pads, zero) rows = Gather(t, i)",
        "i = ScatterElements(ids, prefix, prefix) rows = Gather(t, i)",
        "r = Mul(ids, mask) i = Add(r, mask) rows = Gather(t, i)",
    ],
)
def test_ids_are_followed_through_what_keeps_or_moves_them(graph, body):
    given = {"limit": np.array(15), "other": np.array(3), "zero": np.array(0)}
    given |= {"prefix": np.array([2]), "pads": np.array([1, 0])}
    model = graph(
        "(int64[b] ids, int64[b] attention_mask) => (rows)",
        body.replace("mask", "attention_mask"),
        t=table(),
        **given,
    )
    found = find_token_table(model.graph)
    assert (found.name, found.ids_input) == ("t", "ids")


def test_a_table_of_positions_is_none_of_tokens_though_it_is_larger(graph):
    body = "x = Gather(t, ids) z = Gather(places, position_ids) rows = Add(x, z)"
    large = np.ones((500, 4), np.float32)
    model = graph("(int64[b] position_ids, int64[b] ids) => (rows)", body, t=table(), places=large)
    assert [each.name for each in find_tables(model.graph)] == ["t", "places"]


def test_positions_that_are_made_of_ids_are_no_ids(graph):
    body = """
        m = Equal(ids, pad) k = Cast<to = 7>(m) p = CumSum(k, zero)
        x = Gather(t, ids) z = Gather(places, p) rows = Add(x, z)
    """
    large = np.ones((500, 4), np.float32)
    given = {"pad": np.array(1), "zero": np.array(0), "places": large}
    model = graph("(int64[b] ids) => (rows)", body, t=table(), **given)
    assert [each.name for each in find_tables(model.graph)] == ["t"]


def test_other_look_ups_of_the_same_table_are_packed_too(graph):
    """By constants, and by ids that are computed in a way that is not known."""
    body = """
        x = Gather(t, ids) y = Gather(t, some) c = CumSum(ids, zero) z = Gather(t, c)
        w = Add(y, z) rows = Add(x, w)
    """
    model = graph("(int64[b] ids) => (rows)", body, t=table(), some=np.array([3]), zero=np.array(0))
    found = find_token_table(model.graph)
    assert len(found.lookups) == 3
    assert found.others == ()
    assert {lookup.ids_input for lookup in found.lookups} == {"ids"}


def test_ids_are_followed_into_a_loop_and_out_of_a_branch(graph):
    model = graph(
        "(int64[b] ids, bool which, int64[] turns) => (rows)",
        """
        some = If (which) <
            then_branch = g1 () => (int64[b] x) { x = Identity(ids) },
            else_branch = g2 () => (int64[b] z) { z = Neg(ids) }
        >
        last, rows = Loop (turns, which, some) <
            body = turn (int64 i, bool on, int64[b] held) => (bool go, int64[b] k, float[b,4] r) {
                go = Identity(on) r = Gather(t, held) k = Identity(held)
            }
        >
        """,
        t=table(),
    )
    assert find_token_table(model.graph).ids_input == "ids"


def test_the_counter_of_a_loop_is_no_id(graph):
    model = graph(
        "(int64[] turns, bool which) => (rows)",
        """
        rows = Loop (turns, which) <
            body = turn (int64 i, bool on) => (bool go, float[4] r) {
                go = Identity(on) r = Gather(t, i)
            }
        >
        """,
        t=table(),
    )
    with pytest.raises(InputError, match="is looked up by what the counter of a loop gives"):
        find_token_table(model.graph)


def test_integers_are_ids_before_floats_are(graph):
    body = "n = Cast<to = 7>(shift) i = Add(n, ids) rows = Gather(t, i)"
    model = graph("(float[b] shift, int64[b] ids) => (rows)", body, t=table())
    assert find_token_table(model.graph).ids_input == "ids"
    alone = graph("(float[b] x) => (rows)", "i = Cast<to = 7>(x) rows = Gather(t, i)", t=table())
    assert find_token_table(alone.graph).ids_input == "x"


def test_a_table_that_changes_with_each_call_is_named(graph):
    body = "s = Mul(t, gain) rows = Gather(s, ids)"
    model = graph("(int64[b] ids, float[1] gain) => (rows)", body, t=table())
    with pytest.raises(InputError, match=r"Gather reads what Mul makes of t \(20 x 4\) in each"):
        find_token_table(model.graph)

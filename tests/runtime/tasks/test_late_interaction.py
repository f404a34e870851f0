"""Late interaction over hand-made token vectors: what counts, what does not, and in what order."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from runtime import LateInteraction, open_pipeline
from runtime.tasks.late_interaction import max_sim
from toolkit.bundle.manifest import MANIFEST_NAME, Pooling, describe_files
from toolkit.cli.app import run
from toolkit.errors import InputError

TASK = "feature-extraction"
COLBERT = Pooling("colbert", normalize=True)
# Ids: 0 [PAD], 1 [UNK], 2 [CLS], 3 [SEP], 4 [MASK], 5 red, 6 green, 7 blue, 8 sea, 9 sky.
SETTINGS = {
    "similarity_fn_name": "MaxSim",
    "query_prefix": "sea",
    "document_prefix": "sky",
    "query_length": 6,
    "document_length": 7,
    "skiplist_words": ["blue"],
}


@pytest.fixture
def table(tiny):
    return tiny.table()


@pytest.fixture
def bundle(tmp_path, tiny, rewrite_manifest):
    """``bundle(**settings)``: each token's vector is its row of the table."""

    def write(values=None, graph=None, **settings):
        folder = tmp_path / "b"
        tiny.bundle(folder, TASK, values, graph=graph, pooling=COLBERT, max_length=20)
        config = json.dumps(SETTINGS | settings)
        (folder / "config_sentence_transformers.json").write_text(config)
        files = {k: vars(v) for k, v in describe_files(folder).items() if k != MANIFEST_NAME}
        rewrite_manifest(folder, files=files)
        return folder

    return write


@pytest.fixture
def apart():
    """Red and green have a direction each, all others share one."""
    values = np.tile(np.eye(4, dtype=np.float32)[3], (10, 1))
    values[[5, 6]] = np.eye(4)[:2]
    return values


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_a_query_is_marked_and_filled_up(bundle, table):
    encode = open_pipeline(bundle())
    assert isinstance(encode, LateInteraction)
    short, long = encode.encode_queries(["red", "red green blue red green"], batch_size=1)
    np.testing.assert_allclose(short, unit(table[[2, 8, 5, 3, 4, 4]]), atol=1e-6)
    np.testing.assert_allclose(long, unit(table[[2, 8, 5, 6, 7, 3]]), atol=1e-6)
    assert short.dtype == np.float32


@pytest.mark.parametrize(
    ("settings", "ids"),
    [
        ({"do_query_expansion": False}, [2, 8, 5, 3]),
        ({"query_prefix": ""}, [2, 5, 3, 4, 4, 4]),
        ({"query_prefix_id": 6}, [2, 6, 5, 3, 4, 4]),
        ({"mask_token_id": 9}, [2, 8, 5, 3, 9, 9]),
        ({"attend_to_expansion_tokens": True}, [2, 8, 5, 3, 4, 4]),
        ({"prompts": {"x": "green "}, "default_prompt_name": "x"}, [2, 8, 6, 5, 3, 4]),
    ],
)
def test_what_the_settings_change_of_a_query(bundle, table, settings, ids):
    (found,) = open_pipeline(bundle(**settings)).encode_queries(["red"])
    np.testing.assert_allclose(found, unit(table[ids]), atol=1e-6)


# Gives the mask in place of the first column.
MASKED = """
    <ir_version: 9, opset_import: ["" : 18]>
    g (int64[b,s] input_ids, int64[b,s] attention_mask) => (float[b,s,5] token_embeddings) {
      rows = Gather(table, input_ids)
      mask = CastLike(attention_mask, rows)
      last = Constant<value_ints = [-1]>()
      wide = Unsqueeze(mask, last)
      token_embeddings = Concat<axis = -1>(wide, rows)
    }"""


@pytest.mark.parametrize("attends", [False, True])
def test_whether_a_querys_tokens_attend_to_the_filling(bundle, attends):
    folder = bundle(graph=MASKED, attend_to_expansion_tokens=attends)
    (found,) = open_pipeline(folder).encode_queries(["red"])
    assert (found[:, 0] != 0).tolist() == [True] * 4 + [attends] * 2


def test_documents_are_marked_cut_and_without_skipped_tokens(bundle, table):
    encode = open_pipeline(bundle())
    found = encode.encode_documents(["red blue", "blue", "green red green red green red"], 2)
    for vectors, ids in zip(found, [[2, 9, 5, 3], [2, 9, 3], [2, 9, 6, 5, 6, 5, 3]], strict=True):
        np.testing.assert_allclose(vectors, unit(table[ids]), atol=1e-6)
    assert encode.encode_documents([]) == []


def test_a_word_that_is_no_token_skips_unknown_ones(bundle, table):
    folder = bundle(skiplist_words=["nowhere"])
    special = folder / "special_tokens_map.json"
    special.write_text(json.dumps(json.loads(special.read_text()) | {"unk_token": "[UNK]"}))
    (found,) = open_pipeline(folder, verify=False).encode_documents(["red mauve"])
    np.testing.assert_allclose(found, unit(table[[2, 9, 5, 3]]), atol=1e-6)


def test_a_graph_of_one_size(bundle, table):
    graph = """
        <ir_version: 9, opset_import: ["" : 18]>
        g (int64[2,5] input_ids, int64[2,5] attention_mask) => (float[2,5,4] last_hidden_state)
        { last_hidden_state = Gather(table, input_ids) }"""
    encode = open_pipeline(bundle(graph=graph))
    (query,) = encode.encode_queries(["red"])
    np.testing.assert_allclose(query, unit(table[[2, 8, 5, 3, 4]]), atol=1e-6)
    (document,) = encode.encode_documents(["red green red green"])
    np.testing.assert_allclose(document, unit(table[[2, 9, 5, 6, 3]]), atol=1e-6)


def test_max_sim():
    query = np.array([[1, 0], [0, 1]], np.float32)
    document = np.array([[0.6, 0.8], [1, 0]], np.float32)
    assert max_sim(query, document) == pytest.approx(1 + 0.8)
    assert max_sim(query, np.empty((0, 2), np.float32)) == 0


def test_scores_are_max_sim(bundle, table):
    rank = open_pipeline(bundle())
    passages = ["green", "red", "blue green"]
    found, other = rank([("red", passages), ("green", "red")], batch_size=2)
    query = unit(table[[2, 8, 5, 3, 4, 4]])
    ids = {"green": [2, 9, 6, 3], "red": [2, 9, 5, 3], "blue green": [2, 9, 6, 3]}
    wanted = {p: (query @ unit(table[ids[p]]).T).max(axis=1).sum() for p in passages}
    assert {p.text: p.score for p in found} == pytest.approx(wanted, abs=1e-5)
    assert [(p.text, p.place) for p in other] == [("red", 0)]
    assert rank([]) == []


def test_the_best_passage_comes_first(bundle, apart):
    (found,) = open_pipeline(bundle(apart))([("red", ["green", "red", "blue green"])])
    assert [(p.text, p.place) for p in found] == [("red", 1), ("green", 0), ("blue green", 2)]
    assert [p.score for p in found] == pytest.approx([6, 5, 5])


def test_a_projection_beside_the_graph(bundle, table):
    folder = bundle()
    weights = np.random.default_rng(1).normal(size=(2, 4)).astype(np.float32)
    module = folder / "1_Dense"
    module.mkdir()
    (module / "config.json").write_text(json.dumps({"in_features": 4, "out_features": 2}))
    save_file({"linear.weight": weights}, module / "model.safetensors")
    modules = [{"type": "pylate.models.Dense.Dense", "path": "1_Dense"}]
    (folder / "modules.json").write_text(json.dumps(modules))
    (found,) = open_pipeline(folder).encode_documents(["red"])
    np.testing.assert_allclose(found, unit(table[[2, 9, 5, 3]] @ weights.T), atol=1e-5)
    (module / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"model\.safetensors is missing, which holds the proj"):
        open_pipeline(folder)


def test_what_cannot_be_encoded(bundle):
    encode = open_pipeline(bundle())
    with pytest.raises(InputError, match="texts is a single string"):
        encode.encode_queries("red")
    with pytest.raises(InputError, match="3 is no text"):
        encode.encode_documents([3])
    with pytest.raises(InputError, match="batch_size must be at least 1"):
        encode.encode_documents(["red"], 0)
    with pytest.raises(InputError, match="no query with passages"):
        encode(["red"])


def test_a_marker_that_is_no_token(bundle):
    with pytest.raises(InputError, match=r"no token '\[Q\] ', the query_prefix of its settings"):
        open_pipeline(bundle(query_prefix="[Q] "))


def test_the_command_line(bundle, apart, capfd):
    path = str(bundle(apart))
    assert run(["run", path, "red", "green", "red"]) == 0
    first, *lines = capfd.readouterr().out.splitlines()
    assert first.split() == ["red", "score"]
    assert [line.split() for line in lines] == [["(2)", "red", "6"], ["(1)", "green", "5"]]
    assert run(["run", path, '{"query": "red", "passages": ["red", "sea"]}', "--json"]) == 0
    (result,) = json.loads(capfd.readouterr().out)
    assert result["query"] == "red"
    assert [(p["text"], p["place"]) for p in result["passages"]] == [("red", 0), ("sea", 1)]
    assert [p["score"] for p in result["passages"]] == pytest.approx([6, 5])


def test_one_text_alone_is_told_what_is_wanted(bundle, capfd):
    assert run(["run", str(bundle()), "red"]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "red is no query with its passages" in line


def test_no_page_serves_it(bundle, capfd):
    assert run(["serve", str(bundle())]) == 2
    assert "is a ColBERT model, which no page is for" in capfd.readouterr().err

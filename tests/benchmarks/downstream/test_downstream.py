"""Trainings of a tiny encoder on toy tasks: what is trained, stored again, resumed and told."""

import json
import random

import numpy as np
import pytest
import torch
from downstream import run as downstream_run
from downstream.__main__ import main
from downstream.arms import Int4, Packed, Uncompressed, dense_of, round_to_nearest
from downstream.results import append, read_results
from downstream.run import open_model
from downstream.tables import Arm, Tables, list_arms
from downstream.tasks import Classification, read_classification
from downstream.train import Bench, Recipe, build, epoch_batches, measure
from rivals.rtn import RoundToNearest
from transformers import BertConfig, BertModel, BertTokenizerFast

from toolkit import Budget, compress

WORDS = [f"w{number}" for number in range(395)]
GOOD, BAD = WORDS[:20], WORDS[20:40]
METHODS = ("int4", "svd", "direction", "lighttoken-paper", "lighttoken")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with an encoder of 400 tokens, 48 wide, and its tokenizer."""
    folder = tmp_path_factory.mktemp("encoder")
    vocabulary = folder / "vocab.txt"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    vocabulary.write_text("\n".join(words), encoding="utf-8")
    BertTokenizerFast(str(vocabulary)).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=40,
        initializer_range=0.1,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def sentence(draw, label):
    chosen = draw.sample(GOOD if label else BAD, 3) + draw.sample(WORDS[40:], draw.randint(2, 7))
    draw.shuffle(chosen)
    return " ".join(chosen)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """sst2 and mrpc, where a text's label is that of its words; stsb; xquad of eight articles."""
    folder, draw = tmp_path_factory.mktemp("data"), random.Random(0)
    for name in ("sst2", "mrpc", "stsb", "xquad"):
        (folder / name).mkdir()
    for part, count in (("train", 320), ("dev", 96)):
        single, pairs = [], ["sentence1\tsentence2\tlabel"]
        for label in draw.choices((0, 1), k=count):
            single.append(f"{sentence(draw, label)}\t{label}")
            pairs.append(f"{sentence(draw, 1)}\t{sentence(draw, label)}\t{label}")
        (folder / "sst2" / f"{part}.tsv").write_text("\n".join(single) + "\n")
        (folder / "mrpc" / f"{part}.tsv").write_text("\n".join(pairs) + "\n")
    scored = [
        f"{sentence(draw, 1)},{sentence(draw, score > 2)},{score}"
        for score in draw.choices((0, 1, 2, 3, 4, 5), k=40)
    ]
    (folder / "stsb" / "stsb-en-dev.csv").write_text("\n".join(scored) + "\n")
    articles = [{"paragraphs": [paragraph(draw)]} for _ in range(8)]
    (folder / "xquad" / "xquad.en.json").write_text(json.dumps({"data": articles}))
    return folder


def paragraph(draw):
    """A context with one good word, which is the answer."""
    words = draw.sample(WORDS[40:], 30)
    words[draw.randrange(30)] = answer = draw.choice(GOOD)
    context = " ".join(words)
    entry = {"text": answer, "answer_start": f" {context} ".index(f" {answer} ")}
    return {"context": context, "qas": [{"id": "0", "question": "w99", "answers": [entry]}]}


def run(model, data, folder, *options, methods="uncompressed,int4,svd", tasks="sst2"):
    base = [str(model), str(data), "--out", str(folder / "r.jsonl"), "--work", str(folder / "work")]
    base += ["--ratios", "4", "--seeds", "1", "--epochs", "1", "--learning-rate", "5e-3"]
    return main([*base, "--methods", methods, "--tasks", tasks, *options])


def trained(folder):
    return {
        (row["task"], row["arm"], row["seed"]): row
        for row in read_results(folder / "r.jsonl")
        if row["task"] != "sts"
    }


def bench(model, trainable, **recipe):
    tokenizer, dense, _ = open_model(model)
    settings = Recipe(**{"learning_rate": 5e-3, "epochs": 1, "batch": 16} | recipe)
    return Bench(model, tokenizer, settings, trainable, torch.device("cpu")), dense


@pytest.fixture(scope="module")
def task(model, data):
    tokenizer, _, _ = open_model(model)
    return read_classification(data / "sst2", tokenizer, 40, None)


def tables(model, folder):
    _, dense, _ = open_model(model)
    return Tables(model, dense, folder)


# arms


def test_every_arm_looks_up_what_it_stores_in_a_model(model, task, tmp_path):
    start, dense = bench(model, trainable=True)
    made = tables(model, tmp_path)
    ids = torch.tensor([[0, 5, 399], [17, 5, 250]])
    for arm in list_arms(METHODS, [4.0]):
        table = made.make(arm)
        encoder = build(start, task, 0)
        layer = table.place(encoder)
        assert encoder.get_input_embeddings() is layer
        found = encoder.get_input_embeddings()(ids).detach().numpy()
        np.testing.assert_allclose(found, table.dense()[ids.numpy()], atol=1e-5)
        np.testing.assert_allclose(dense_of(layer), table.dense(), atol=1e-5)
        assert not np.allclose(table.dense(), dense)
        assert table.nbytes < dense.nbytes / 3


def test_int4_is_the_rival_s_round_to_nearest_at_its_bytes():
    table = np.random.default_rng(0).normal(size=(50, 48)).astype(np.float32)
    ours, theirs = round_to_nearest(table), RoundToNearest(4)(table, 0, 0)
    np.testing.assert_allclose(ours.dense(), theirs.decoded, rtol=1e-6)
    assert ours.nbytes == theirs.nbytes
    assert ours.codes.min() >= -8
    assert ours.codes.max() <= 7


def test_a_trained_int4_table_keeps_its_codes_and_stores_its_scales_as_halves(model, task):
    start, dense = bench(model, trainable=True)
    table = round_to_nearest(dense)
    layer = table.place(build(start, task, 0))
    with torch.no_grad():
        layer.scales.mul_(1.5)
    stored = table.pack(layer)
    assert isinstance(stored, Int4)
    assert stored.nbytes == table.nbytes
    np.testing.assert_array_equal(stored.codes, table.codes)
    np.testing.assert_allclose(stored.dense(), 1.5 * table.dense(), rtol=1e-3)


def test_tables_are_made_once(model, tmp_path, monkeypatch):
    first = tables(model, tmp_path)
    arms = list_arms(["svd", "int4"], [4.0])
    made = [first.make(arm).dense() for arm in arms]
    monkeypatch.setattr("downstream.tables.compress", None)
    monkeypatch.setattr("downstream.tables.kinds.round_to_nearest", None)
    again = tables(model, tmp_path)
    for arm, dense in zip(arms, made, strict=True):
        np.testing.assert_array_equal(again.make(arm).dense(), dense)
    with pytest.raises(TypeError):
        again.make(Arm("svd", 5.0))


# training


def test_a_frozen_table_stays_and_a_trainable_one_moves_in_the_same_bytes(model, task, tmp_path):
    made = tables(model, tmp_path)
    for arm in list_arms(("uncompressed", *METHODS), [4.0]):
        table = made.make(arm)
        frozen = measure(bench(model, trainable=False)[0], task, table, 0)
        assert frozen["moved"] == 0
        assert frozen["score"] == frozen["unpacked_score"]
        assert measure(bench(model, trainable=True)[0], task, table, 0)["moved"] > 1e-6, str(arm)


def test_the_score_is_that_of_the_table_as_it_is_stored(model, task, monkeypatch):
    start, dense = bench(model, trainable=True)
    table = Packed(compress(dense, Budget(ratio=4), method="svd"))
    honest = measure(start, task, table, 0)
    assert honest["unpacked_score"] > 70
    nothing = Packed(compress(np.full_like(dense, 1e-9), Budget(ratio=4), method="svd"))
    monkeypatch.setattr(Packed, "pack", lambda self, layer: nothing)
    monkeypatch.setattr(Packed, "nbytes", 1)
    broken = measure(start, task, table, 0)
    assert broken["unpacked_score"] == honest["unpacked_score"]
    assert broken["score"] < honest["score"] - 10


def test_bytes_that_changed_by_training_are_an_error(model, task, monkeypatch):
    start, dense = bench(model, trainable=True)
    table = Packed(compress(dense, Budget(ratio=4), method="svd"))
    other = Packed(compress(dense, Budget(ratio=8), method="svd"))
    monkeypatch.setattr(Packed, "pack", lambda self, layer: other)
    with pytest.raises(RuntimeError, match="bytes became"):
        measure(start, task, table, 0)


def test_equal_seeds_give_equal_figures_and_others_do_not(model, task):
    start, dense = bench(model, trainable=True)
    table = round_to_nearest(dense)
    one, two, other = (measure(start, task, table, seed) for seed in (3, 3, 4))
    assert one | {"seconds": 0} == two | {"seconds": 0}
    assert one["moved"] != other["moved"]


def test_a_seed_gives_every_arm_one_head_and_one_order(model, task):
    start, _ = bench(model, trainable=True)
    heads = [build(start, task, seed).classifier.weight for seed in (0, 0, 1)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    order = epoch_batches(task.train, 16, 5)
    assert order == epoch_batches(task.train, 16, 5)
    assert order != epoch_batches(task.train, 16, 6)
    assert sorted(index for batch in order for index in batch) == list(range(len(task.train)))


def test_a_table_without_the_words_scores_worse_than_the_model_s_own(model, task):
    start, dense = bench(model, trainable=False, epochs=3)
    blind = Uncompressed(np.repeat(dense.mean(axis=0, keepdims=True), len(dense), axis=0))
    own = measure(start, task, Uncompressed(dense), 0)["score"]
    assert own > 85
    assert measure(start, task, blind, 0)["score"] < own - 20


# tasks


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("rte", {"accuracy": 75.0, "score": 75.0}),
        ("mrpc", {"accuracy": 75.0, "F1": 80.0, "score": 77.5}),
        ("cola", {"Matthews": 57.735, "score": 57.735}),
    ],
)
def test_scores_are_glue_s(name, figures):
    toy = Classification(name, [], [], "", "", labels=(1, 1, 0, 0))
    found = [{"logits": np.eye(2)[label]} for label in (1, 1, 1, 0)]
    assert toy.score(found) == pytest.approx(figures, abs=1e-3)


def test_a_limit_draws_examples_to_train_on_and_none_to_test(model, data, task):
    tokenizer, _, _ = open_model(model)
    small = read_classification(data / "sst2", tokenizer, 8, 50)
    assert (len(small.train), len(small.test)) == (50, len(task.test))
    assert max(len(feature["input_ids"]) for feature in small.train) == 8
    assert "labels" not in small.test[0]


# the command


def test_a_second_run_trains_only_what_is_missing(model, data, tmp_path, monkeypatch, capsys):
    assert run(model, data, tmp_path) == 0
    first = trained(tmp_path)
    assert {key[1] for key in first} == {"uncompressed", "int4", "svd 4x"}
    calls = []
    real = downstream_run.measure
    monkeypatch.setattr(
        downstream_run, "measure", lambda *given: calls.append(given[3]) or real(*given)
    )
    assert run(model, data, tmp_path) == 0
    assert calls == []
    assert run(model, data, tmp_path, "--seeds", "2") == 0
    assert calls == [1, 1, 1]
    assert first.items() <= trained(tmp_path).items()
    assert run(model, data, tmp_path, "--table", "frozen", methods="svd") == 0
    assert run(model, data, tmp_path, "--epochs", "2", methods="svd") == 0
    assert calls == [1, 1, 1, 0, 0]
    assert "± " in capsys.readouterr().out


def test_several_processes_find_what_one_does(model, data, tmp_path):
    folders = [tmp_path / name for name in ("one", "two")]
    for folder, options in zip(folders, ((), ("--processes", "2")), strict=True):
        folder.mkdir()
        options = (*options, "--ratios", "4,4000")
        assert run(model, data, folder, *options, methods="uncompressed,svd") == 0
    one, two = (
        {(row["task"], row["arm"]): row for row in read_results(folder / "r.jsonl")}
        for folder in folders
    )
    assert one.keys() == two.keys()
    assert "error" in two["sst2", "svd 4000x"]
    for key, row in one.items():
        # The order of sums differs with the number of threads.
        assert two[key].get("score") == pytest.approx(row.get("score"), abs=3)
        assert two[key]["stored"] == row["stored"]


def test_products_in_bfloat16_are_another_recipe(model, data, tmp_path):
    for precision in ("float32", "bfloat16"):
        assert run(model, data, tmp_path, "--precision", precision, methods="svd") == 0
    rows = [row for row in read_results(tmp_path / "r.jsonl") if row["task"] == "sst2"]
    assert len(rows) == 2
    assert rows[0]["moved"] != rows[1]["moved"]
    assert rows[1]["recipe"].endswith("bfloat16")


def test_all_kinds_of_tasks_are_trained_and_shown(model, data, tmp_path, capsys):
    assert run(model, data, tmp_path, tasks="mrpc,xquad", methods="uncompressed,lighttoken") == 0
    rows = trained(tmp_path)
    assert {key[0] for key in rows} == {"mrpc", "xquad"}
    assert rows["xquad", "lighttoken 4x", 0]["figures"].keys() == {"exact match", "F1"}
    assert rows["xquad", "lighttoken 4x", 0]["remark"]
    out = capsys.readouterr().out
    assert "xquad: F1" in out
    assert "average" in out
    assert "STS before" in out


def test_a_line_that_was_cut_short_is_measured_again(model, data, tmp_path):
    assert run(model, data, tmp_path) == 0
    file = tmp_path / "r.jsonl"
    text = file.read_text()
    whole = trained(tmp_path)
    file.write_text(text[:-40])
    assert len(trained(tmp_path)) == len(whole) - 1
    assert run(model, data, tmp_path) == 0
    again = trained(tmp_path)
    assert again.keys() == whole.keys()
    for key, row in whole.items():
        assert again[key] | {"seconds": 0} == row | {"seconds": 0}


def test_an_arm_that_fails_is_told_and_tried_again(model, data, tmp_path, capsys):
    for count in (1, 2):
        assert run(model, data, tmp_path, "--ratios", "4000", methods="uncompressed,svd") == 0
        shown = capsys.readouterr()
        assert "sst2, svd 4000x" in shown.out
        assert "uncompressed" in shown.out
        lines = (tmp_path / "r.jsonl").read_text().splitlines()
        assert sum("error" in json.loads(line) for line in lines) == 2 * count  # sts and sst2


def test_the_score_before_training_falls_with_the_table(model, data, tmp_path):
    assert run(model, data, tmp_path, "--ratios", "2,30", methods="uncompressed,svd") == 0
    rows = {row["arm"]: row for row in read_results(tmp_path / "r.jsonl") if row["task"] == "sts"}
    cosines = [rows[arm]["sentence_cosine"] for arm in ("uncompressed", "svd 2x", "svd 30x")]
    assert cosines[0] == pytest.approx(1, abs=1e-5)
    assert cosines[0] > cosines[1] > cosines[2]


def test_no_trainings_are_a_score_before_any(model, data, tmp_path, capsys):
    assert run(model, data, tmp_path, "--seeds", "0", methods="svd") == 0
    assert [row["task"] for row in read_results(tmp_path / "r.jsonl")] == ["sts"]
    assert "before any training" in capsys.readouterr().out


def test_results_are_appended_whole(tmp_path):
    path = tmp_path / "r.jsonl"
    assert read_results(path) == []
    append(path, {"task": "rte", "seed": 0, "score": 1.0})
    append(path, {"task": "rte", "seed": 1, "score": 2.0})
    append(path, {"task": "rte", "seed": 0, "score": 3.0})
    assert [row["score"] for row in read_results(path)] == [3.0, 2.0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--methods", "magic"], "magic"),
        (["--tasks", "cola"], "cola"),
        (["--ratios", "ten"], "ten"),
        (["--epochs", "0"], "--epochs must be above 0, got 0"),
        (["--methods", "lighttoken-healed"], "--heal-text"),
        (["--out", "no-such-folder/r.jsonl"], "no-such-folder is not here"),
    ],
)
def test_what_a_user_got_wrong_is_one_line(model, data, tmp_path, capsys, options, said):
    assert run(model, data, tmp_path, *options) == 2
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert said in lines[0]
    assert "Traceback" not in error


def test_a_healed_table_is_made_from_text(model, data, tmp_path):
    draw = random.Random(1)
    text = tmp_path / "text.txt"
    text.write_text("\n".join(sentence(draw, label % 2) for label in range(400)))
    options = ("--heal-text", str(text), "--quick", "--limit", "32", "--ratios", "6")
    assert run(model, data, tmp_path, *options, methods="lighttoken,lighttoken-healed") == 0
    rows = trained(tmp_path)
    plain, healed = (rows["sst2", f"{name} 6x", 0] for name in ("lighttoken", "lighttoken-healed"))
    assert min(plain["stored_ratio"], healed["stored_ratio"]) >= 6
    before = {row["arm"]: row for row in read_results(tmp_path / "r.jsonl") if row["task"] == "sts"}
    gained = [
        before[f"{name} 6x"]["sentence_cosine"] for name in ("lighttoken", "lighttoken-healed")
    ]
    assert gained[1] > gained[0]

"""What is measured of encoders, classifiers and models that answer, on tiny models."""

import json

import numpy as np
import pytest
from scipy.stats import spearmanr

from runtime.evaluate.data.files import Data
from runtime.evaluate.data.labelled import Labelled
from runtime.evaluate.data.pairs import Pairs
from runtime.evaluate.figures import ORIGINAL
from runtime.evaluate.measures import measure
from runtime.evaluate.metrics.agreement import label_agreement, span_agreement
from runtime.evaluate.metrics.classification import classification, match_labels
from runtime.evaluate.metrics.probe import linear_probe
from runtime.evaluate.metrics.similarity import sentence_similarity
from runtime.evaluate.metrics.sts import sentence_pairs
from runtime.evaluate.model import open_model
from toolkit.errors import InputError
from toolkit.table.metrics import cosines

PAIRS = Pairs(
    ("red sea", "blue", "sky", "green sea"), ("red sky", "green", "sky sea", "blue"),
    (4.5, 1.0, 3.0, 2.0),
)  # fmt: skip
TEXTS = ["red sea", "blue", "sky sky red", "green", "sea sky"]
SPANS = """
    <ir_version: 9, opset_import: ["" : 18]>
    g (int64[b,s] input_ids, int64[b,s] attention_mask)
        => (float[b,s] start_logits, float[b,s] end_logits)
    {
      states = Gather(table, input_ids)
      axis = Constant<value_ints = [2]>()
      start_logits = ReduceMax<keepdims = 0>(states, axis)
      end_logits = ReduceMin<keepdims = 0>(states, axis)
    }"""
LABELS = {"id2label": {str(i): name for i, name in enumerate(["Bad", "Good", "Odd", "None"])}}


def noisy(tiny, scale, columns=4):
    noise = np.random.default_rng(5).normal(size=(10, columns)).astype(np.float32)
    return tiny.table(columns) + scale * noise


@pytest.fixture
def models(tiny, tmp_path):
    """``models(task, name=noise, ...)``: the original and others with more or less of its table."""

    def build(task, config=None, **others):
        graph = SPANS if task == "question-answering" else tiny.graphs[task]
        names = {ORIGINAL: 0.0} | others
        columns = 10 if task == "fill-mask" else 4
        return [
            open_model(
                tiny.bundle(
                    tmp_path / name, task, noisy(tiny, scale, columns), graph=graph, config=config
                ),
                name,
            )
            for name, scale in names.items()
        ]

    return build


def by_metric(found, model):
    return {figure.metric: figure.score.value for figure in found if figure.model == model}


def test_pairs_by_hand(models, tiny):
    found = sentence_pairs(models("feature-extraction", other=0.5), PAIRS, resamples=20)
    ids = {
        "red sea": [2, 5, 8, 3], "blue": [2, 7, 3], "sky": [2, 9, 3], "green sea": [2, 6, 8, 3],
        "red sky": [2, 5, 9, 3], "green": [2, 6, 3], "sky sea": [2, 9, 8, 3],
    }  # fmt: skip
    first, second = (
        {s: table[i].mean(0) for s, i in ids.items()} for table in (tiny.table(), noisy(tiny, 0.5))
    )

    def cosine(a, b):
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    def rank(vectors):
        likeness = [
            cosine(vectors[a], vectors[b]) for a, b in zip(PAIRS.left, PAIRS.right, strict=True)
        ]
        return 100 * spearmanr(likeness, PAIRS.scores).statistic

    same = [cosine(first[s], second[s]) for s in ids]
    assert by_metric(found, ORIGINAL) == {"Spearman": pytest.approx(rank(first))}
    assert by_metric(found, "other") == pytest.approx(
        {
            "Spearman": rank(second),
            "cosine, mean": np.mean(same),
            "cosine, 5th percentile": np.percentile(same, 5),
        },
        rel=1e-5,
    )
    [spearman] = [f for f in found if (f.model, f.metric) == ("other", "Spearman")]
    assert spearman.difference is not None
    assert spearman.difference.value == pytest.approx(rank(second) - rank(first))
    assert np.mean(same) < 0.999


def test_ties_in_scores_are_those_of_scipy(models):
    pairs = Pairs(PAIRS.left, PAIRS.right, (1.0, 1.0, 3.0, 2.0))
    [subject] = models("feature-extraction")
    [figure] = sentence_pairs([subject], pairs, resamples=5)
    vectors = {text: subject.encoder()([text])[0] for text in pairs.left + pairs.right}
    sides = [np.array([vectors[text] for text in side]) for side in (pairs.left, pairs.right)]
    wanted = 100 * spearmanr(cosines(*sides), pairs.scores).statistic
    assert figure.score.value == pytest.approx(wanted)


def test_each_distinct_sentence_is_encoded_once(models):
    found = sentence_pairs(
        models("feature-extraction", other=0.1),
        Pairs(("red", "red"), ("sea", "sky sea"), (1.0, 2.0)),
        resamples=5,
    )
    assert {f.metric: f.count for f in found} == {
        "Spearman": 2, "cosine, mean": 3, "cosine, 5th percentile": 3
    }  # fmt: skip


@pytest.mark.parametrize("scores", [(1.0,), (2.0, 2.0)])
def test_scores_without_a_correlation(models, scores):
    pairs = Pairs(("red", "sea")[: len(scores)], ("sky", "blue")[: len(scores)], scores)
    with pytest.raises(InputError, match="different scores"):
        sentence_pairs(models("feature-extraction"), pairs)


def test_model_that_says_the_same_of_every_pair(tmp_path, tiny):
    same = tiny.bundle(tmp_path / "b", values=np.ones((10, 4), np.float32))
    with pytest.raises(InputError, match="model original gives every pair the same cosine"):
        sentence_pairs([open_model(same, ORIGINAL)], PAIRS)


def test_a_model_of_another_width_has_no_cosine_to_the_original(models, tmp_path, tiny):
    graph = tiny.graphs["feature-extraction"].replace("[b,s,4]", "[b,s,6]")
    wide = open_model(tiny.bundle(tmp_path / "w", values=tiny.table(6), graph=graph), "wide")
    found = sentence_pairs([*models("feature-extraction", near=0.1), wide], PAIRS, resamples=5)
    assert list(by_metric(found, "wide")) == ["Spearman"]
    assert len(by_metric(found, "near")) == 3


def test_cosine_with_zeros_is_zero():
    np.testing.assert_array_equal(cosines(np.zeros((1, 3)), np.ones((1, 3))), [0.0])


@pytest.mark.parametrize("task", ["feature-extraction", "text-classification",
                                  "question-answering"])  # fmt: skip
def test_a_model_agrees_with_itself_and_a_worse_table_less(models, task):
    subjects = models(task, itself=0.0, near=0.02, far=6.0)
    texts = TEXTS + [f"{a} {b}" for a in TEXTS for b in TEXTS]
    found = measure(subjects, Data(texts=tuple(texts)), resamples=20).figures
    assert not [figure for figure in found if figure.model == ORIGINAL]
    itself, near, far = (by_metric(found, name) for name in ("itself", "near", "far"))
    perfect = {"cosine, mean": 1, "cosine, 5th percentile": 1, "top-1 agreement": 100,
               "KL divergence": 0}  # fmt: skip
    assert itself == pytest.approx({name: perfect[name] for name in itself}, abs=1e-6)
    for figure in found:
        assert figure.difference is None
        worse, better = far[figure.metric], near[figure.metric]
        if figure.higher_is_better:
            worse, better = better, worse
        assert better < worse, figure.metric


def test_agreement_of_labels_by_hand(models, tiny):
    found = label_agreement(models("text-classification", other=1.0), TEXTS, resamples=20)
    ids = [[5, 8], [7], [9, 9, 5], [6], [8, 9]]

    def logits(table):
        return np.array([table[[2, *row, 3]].sum(0) for row in ids], np.float64)

    first, second = logits(tiny.table()), logits(noisy(tiny, 1.0))
    p, q = (np.exp(x) / np.exp(x).sum(1, keepdims=True) for x in (first, second))
    assert by_metric(found, "other") == pytest.approx(
        {
            "top-1 agreement": 100 * np.mean(first.argmax(1) == second.argmax(1)),
            "KL divergence": (p * np.log(p / q)).sum(1).mean(),
        },
        rel=1e-4,
    )


def test_agreement_of_spans_by_hand(models, tiny):
    found = span_agreement(
        models("question-answering", other=0.7), [("red", "sea sky"), ("blue", "green")]
    )
    rows = [[2, 5, 3, 8, 9, 3], [2, 7, 3, 6, 3]]
    agreed, divergence = [], []
    for row in rows:
        for of in (np.max, np.min):
            x, y = (of(table[row], axis=1).astype(np.float64)
                    for table in (tiny.table(), noisy(tiny, 0.7)))  # fmt: skip
            p, q = (np.exp(v) / np.exp(v).sum() for v in (x, y))
            agreed.append(x.argmax() == y.argmax())
            divergence.append((p * np.log(p / q)).sum())
    assert by_metric(found, "other") == pytest.approx(
        {"top-1 agreement": 100 * np.mean(agreed), "KL divergence": np.mean(divergence)}, rel=1e-4
    )


def test_a_single_logit_is_a_choice_of_two(tiny, tmp_path):
    graph = tiny.graphs["text-classification"]
    subjects = [
        open_model(
            tiny.bundle(tmp_path / name, "text-classification", table[:, :1], graph=graph), name
        )
        for name, table in ((ORIGINAL, tiny.table()), ("other", -tiny.table()))
    ]
    found = label_agreement(subjects, TEXTS, resamples=5)
    assert by_metric(found, "other")["top-1 agreement"] == 0


def test_of_more_than_five_labels_the_likeliest_five_count(tiny, tmp_path):
    graph = tiny.graphs["text-classification"]
    tables = tiny.table(7), tiny.table(7)
    tables[1][:, 6] += 1e3  # its likeliest label, whatever the text
    subjects = [
        open_model(tiny.bundle(tmp_path / name, "text-classification", table, graph=graph), name)
        for name, table in zip((ORIGINAL, "other"), tables, strict=True)
    ]
    found = by_metric(label_agreement(subjects, TEXTS, resamples=5), "other")
    assert list(found) == ["top-1 agreement", "top-5 agreement", "KL divergence"]
    wanted = []
    for subject_ids in ([5, 8], [7], [9, 9, 5], [6], [8, 9]):
        first, second = (table[[2, *subject_ids, 3]].sum(0) for table in tables)
        five = {*np.argsort(-first)[:5]} & {*np.argsort(-second)[:5]}
        wanted.append(len(five) / 5)
    assert found["top-5 agreement"] == pytest.approx(100 * np.mean(wanted))


@pytest.mark.parametrize("kind", ["regression", "multi_label_classification"])
def test_models_that_give_no_one_label(models, kind):
    subjects = models("text-classification", {"problem_type": kind}, other=0.1)
    with pytest.raises(InputError, match=r"original does .*, not one label a text"):
        label_agreement(subjects, TEXTS)


def test_labels_by_name_and_by_number(models):
    [subject] = models("text-classification", LABELS)
    by_name = match_labels(Labelled(("a", "b"), ("good", "BAD")), subject, 4)
    assert (dict(by_name.numbers), by_name.by) == ({"good": 1, "BAD": 0}, "name")
    by_number = match_labels(Labelled(("a", "b"), ("1", "3")), subject, 4)
    assert (dict(by_number.numbers), by_number.by) == ({"1": 1, "3": 3}, "number")
    assert str(by_number) == "1 = Good, 3 = None"
    ordered = Labelled(("a",), ("so-so",), ("no", "so-so", "yes", "other"))
    assert match_labels(ordered, subject, 4).numbers["so-so"] == 1


@pytest.mark.parametrize("labels", [("good", "ugly"), ("0", "4"), ("good", "1")])
def test_labels_that_do_not_match(models, labels):
    [subject] = models("text-classification", LABELS)
    with pytest.raises(InputError) as info:
        classification([subject], Labelled(("red", "blue"), labels))
    assert f"({', '.join(labels)}) are not those of original (Bad, Good, Odd, None)" in str(
        info.value
    )


def test_classification_by_hand(models, tiny):
    subjects = models("text-classification", LABELS, other=1.0)
    ids = [[5, 8], [7], [9, 9, 5], [6], [8, 9]]
    best = [int(tiny.table()[[2, *row, 3]].sum(0).argmax()) for row in ids]
    labels = [str(number) for number in best]
    labels[1] = str((best[1] + 1) % 4)  # the original errs once
    said = []
    found = classification(
        subjects, Labelled(tuple(TEXTS), tuple(labels)), resamples=20, note=said.append
    )
    assert by_metric(found, ORIGINAL)["accuracy"] == pytest.approx(80)
    assert set(by_metric(found, "other")) == {"accuracy", "macro F1", "Matthews"}
    assert "labels are matched by number" in said[0]
    assert len(said) == 1


def test_an_original_that_is_worse_than_one_answer_is_suspected(models, tiny):
    subjects = models("text-classification", LABELS)
    best = int(tiny.table()[[2, 7, 3]].sum(0).argmax())
    said = []
    data = Labelled(("blue",) * 3, (str((best + 1) % 4),) * 3)
    classification(subjects, data, resamples=5, note=said.append)
    assert "its order of labels?" in said[1]


def test_pairs_of_texts_are_classified_as_pairs(models):
    [subject] = models("text-classification", LABELS)
    pairs = (("red", "sea"), ("blue", "sky"))
    wanted = [result.label for result in subject.classifier()(list(pairs))]
    labels = Labelled(pairs, tuple(wanted))
    found = classification([subject], labels, resamples=5)
    assert by_metric(found, ORIGINAL)["accuracy"] == 100


def colours(count, seed):
    """Texts whose label is the colour in them, among other words."""
    rng = np.random.default_rng(seed)
    words = rng.choice(["red", "green", "blue"], count)
    rest = [" ".join(rng.choice(["sea", "sky"], 2)) for _ in range(count)]
    texts = [f"{word} {other}" for word, other in zip(words, rest, strict=True)]
    return Labelled(tuple(texts), tuple(words))


def test_a_probe_reads_what_is_in_the_vectors(models, tiny, tmp_path):
    blind = tiny.table()
    blind[5:8] = blind[5]  # colours that all look alike
    subjects = models("feature-extraction", same=0.0)
    subjects.append(open_model(tiny.bundle(tmp_path / "blind", values=blind), "blind"))
    train, test = colours(60, 0), colours(40, 1)
    found = linear_probe(subjects, train, test, resamples=50)
    assert by_metric(found, ORIGINAL) == pytest.approx(
        {"accuracy": 100, "macro F1": 100, "Matthews": 100}
    )
    assert by_metric(found, "same") == by_metric(found, ORIGINAL)
    assert by_metric(found, "blind")["accuracy"] < 60
    verdicts = {f.model: f.verdict for f in found if f.metric == "accuracy"}
    assert verdicts == {ORIGINAL: None, "same": "noise", "blind": "worse"}
    assert found == linear_probe(subjects, train, test, resamples=50)


def test_what_a_probe_cannot_take(models):
    subjects = models("feature-extraction")
    good = Labelled(("red", "sea"), ("a", "b"))
    with pytest.raises(InputError, match="one label, 'a'"):
        linear_probe(subjects, Labelled(("red",), ("a",)), good)
    with pytest.raises(InputError, match="label 'c' is in the test file and not"):
        linear_probe(subjects, good, Labelled(("red",), ("c",)))
    with pytest.raises(InputError, match="hold pairs"):
        linear_probe(subjects, Labelled((("red", "sea"),) * 2, ("a", "b")), good)


def test_measures_refuse_other_tasks(models):
    [subject] = models("fill-mask")
    for call in (
        lambda: sentence_pairs([subject], PAIRS),
        lambda: sentence_similarity([subject], TEXTS),
        lambda: linear_probe([subject], colours(5, 0), colours(5, 1)),
    ):
        with pytest.raises(InputError, match=r"is a fill-mask model; .* sentence vectors"):
            call()
    with pytest.raises(InputError, match="needs a classifier"):
        label_agreement([subject], TEXTS)
    with pytest.raises(InputError, match="needs a model that answers"):
        span_agreement([subject], TEXTS)


def test_several_measures_in_one_report(models):
    subjects = models("feature-extraction", other=0.1)
    seen = []
    data = Data(
        pairs=PAIRS, probe=(colours(20, 0), colours(9, 1)), texts=tuple(TEXTS), notes=("drawn",)
    )
    report = measure(subjects, data, resamples=5, seed=3, progress=lambda s, w: seen.append((s, w)))
    measures = list(dict.fromkeys(figure.measure for figure in report.figures))
    assert measures == ["pairs", "probe", "text"]
    assert [model.name for model in report.models] == [ORIGINAL, "other"]
    assert report.models[0].nbytes == 700
    assert report.notes == ("drawn",)
    shares = [share for share, _ in seen]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    assert seen[0][1] == "running original"
    json.dumps(report.to_dict(), allow_nan=False)


def test_a_model_that_reads_less_of_a_text_is_told_of(models, tiny, tmp_path):
    short = open_model(tiny.bundle(tmp_path / "short", max_length=4), "short")
    [original] = models("feature-extraction")
    report = measure([original, short], Data(texts=("red",)), resamples=5)
    assert report.notes == (
        "short reads 4 tokens of a text, original 8; longer texts are not the same to both",
    )


def test_language_models_read_a_text_as_it_runs(models):
    subjects = models("fill-mask", itself=0.0, far=3.0)
    text = "red sea blue sky " * 20
    found = measure(subjects, Data(running=text, tokens=60), resamples=20).figures
    itself, far = (by_metric(found, name) for name in ("itself", "far"))
    assert itself["top-1 agreement"] == 100
    assert itself["KL divergence"] == pytest.approx(0, abs=1e-9)
    assert far["KL divergence"] > 0.01
    assert any("perplexity" in name for name in far)


def test_opening_what_is_no_model(tiny, bundle, tmp_path):
    with pytest.raises(InputError, match="is a bare model; give folder="):
        open_model(bundle / "model.onnx", "x")
    (tmp_path / "plain").mkdir()
    tiny.tokenizer(tmp_path / "plain")
    with pytest.raises(InputError, match=r"has no lighttoken\.json; give task="):
        open_model(bundle / "model.onnx", "x", folder=tmp_path / "plain")
    subject = open_model(
        bundle / "model.onnx", "x", folder=tmp_path / "plain", task="feature-extraction"
    )
    assert (subject.nbytes, subject.pooling) == (None, None)
    assert open_model(bundle / "model.onnx", "x", folder=bundle).nbytes is None

import json

import numpy as np
import pytest
from scipy.stats import spearmanr

from runtime.evaluate import cosines, evaluate_pairs
from runtime.pairs import Pairs, read_pairs
from runtime.pipeline import open_pipeline
from toolkit.errors import FormatError, InputError

PAIRS = Pairs(("red sea", "blue", "sky"), ("red sky", "green", "sky sea"), (4.5, 1.0, 3.0))
ROWS = [("A man, dancing.", 'A "hard" hat', 5.0), ("Grüße", "海", 0.25)]
CSV = '"A man, dancing.","A ""hard"" hat",5.0\nGrüße,海,0.25\n'
TSV = 'A man, dancing.\tA "hard" hat\t5.0\nGrüße\t海\t0.25\n'


def write(tmp_path, name, text, encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", CSV),
        ("a.CSV", "\ufeff" + CSV.replace("\n", "\r\n")),
        ("a.csv", "sentence1,sentence2,score\n" + CSV + "\n"),
        ("a.tsv", TSV),
        ("a.tsv", "Sentence1\tSentence2\tLabel\n" + TSV),
        (
            "a.tsv",
            "index\tscore\tnote\tsentence2\tsentence1\n"
            + "".join(f"7\t{score}\tx\t{right}\t{left}\n" for left, right, score in ROWS),
        ),
        ("a.jsonl", "".join(json.dumps(row) + "\n" for row in ROWS)),
        (
            "a.jsonl",
            "\n".join(
                json.dumps({"score": score, "sentence1": left, "sentence2": right, "id": 1})
                for left, right, score in ROWS
            ),
        ),
    ],
)
def test_formats(tmp_path, name, text):
    pairs = read_pairs(write(tmp_path, name, text))
    assert list(zip(pairs.left, pairs.right, pairs.scores, strict=True)) == ROWS
    assert len(pairs) == 2


def test_quotes_in_tsv_are_plain_characters(tmp_path):
    pairs = read_pairs(write(tmp_path, "a.tsv", '"Go," he said.\t"Go\t1\n"a\tb"\t2\n'))
    assert pairs.left == ('"Go," he said.', '"a')
    assert pairs.right == ('"Go', 'b"')


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.csv", "a,b,1\nc,d,high\n", "line 2: score 'high' is no number"),
        ("a.csv", "a,b,1\nc,d,nan\n", "line 2: score 'nan'"),
        ("a.csv", "first,second,third\na,b,1\n", "line 1: score 'third' is no number"),
        ("a.csv", "a,b,1\n\nc,1\n", "line 3: 2 columns where 3 are needed"),
        ("a.csv", "a,b,1,x\n", "line 1: 4 columns without a header"),
        ("a.csv", "a,b,1\n ,d,2\n", "line 2: a sentence is empty"),
        ("a.csv", '"a\nb",c,1\nd,e,f\n', "line 3: score 'f'"),
        ("a.tsv", "a\tb\t1\nc\td\n", "line 2: 2 columns"),
        ("a.jsonl", '["a", "b", 1]\n{"a"\n', "line 2 is no JSON"),
        ("a.jsonl", '["a", "b"]\n', "line 1: neither"),
        ("a.jsonl", '{"sentence1": "a", "score": 1}\n', "line 1: a sentence is empty or no text"),
        ("a.jsonl", '["a", "b", null]\n', "line 1: score None"),
    ],
)
def test_bad_rows_are_named(tmp_path, name, text, says):
    with pytest.raises(FormatError) as info:
        read_pairs(write(tmp_path, name, text))
    assert says in str(info.value)
    assert name in str(info.value)
    assert "\n" not in str(info.value)


def test_other_encoding(tmp_path):
    with pytest.raises(FormatError, match="is not UTF-8"):
        read_pairs(write(tmp_path, "a.csv", "Grüße,b,1\n", "latin-1"))


@pytest.mark.parametrize(
    ("name", "says"), [("a.csv", "holds no pairs"), ("a.txt", r"suffix '\.txt'; use \.csv, \.tsv")]
)
def test_unusable_files(tmp_path, name, says):
    with pytest.raises(InputError, match=says):
        read_pairs(write(tmp_path, name, ""))


def test_no_file(tmp_path):
    with pytest.raises(InputError, match="is not here"):
        read_pairs(tmp_path / "none.csv")


def test_a_model_against_itself(bundle):
    model = open_pipeline(bundle)
    report = evaluate_pairs(model, model, PAIRS)
    assert report.count == 3
    assert report.drop == 0
    assert report.retained == 100
    assert report.cosine_mean == pytest.approx(1.0)
    assert report.cosine_p5 == pytest.approx(1.0)
    assert report.to_dict()["original"] == report.original == report.compressed


def test_another_table(tmp_path, bundle, tiny):
    noise = np.random.default_rng(5).normal(size=(10, 4)).astype(np.float32)
    tables = tiny.table(), tiny.table() + 0.5 * noise
    path = tiny.model(tmp_path / "m.onnx", tiny.graphs["feature-extraction"], tables[1])
    report = evaluate_pairs(open_pipeline(path, like=bundle), open_pipeline(bundle), PAIRS)

    ids = {"red sea": [2, 5, 8, 3], "blue": [2, 7, 3], "sky": [2, 9, 3],
           "red sky": [2, 5, 9, 3], "green": [2, 6, 3], "sky sea": [2, 9, 8, 3]}  # fmt: skip
    first, second = ({s: t[i].mean(0) for s, i in ids.items()} for t in tables)

    def cosine(a, b):
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    def rank(vectors):
        found = [cosine(vectors[a], vectors[b])
                 for a, b in zip(PAIRS.left, PAIRS.right, strict=True)]  # fmt: skip
        return 100 * spearmanr(found, PAIRS.scores).statistic

    same = [cosine(first[s], second[s]) for s in ids]
    assert report.original == pytest.approx(rank(first))
    assert report.compressed == pytest.approx(rank(second))
    assert report.drop == pytest.approx(rank(first) - rank(second))
    assert report.retained == pytest.approx(100 * rank(second) / rank(first))
    assert report.cosine_mean == pytest.approx(np.mean(same), rel=1e-5)
    assert report.cosine_p5 == pytest.approx(np.percentile(same, 5), rel=1e-5)
    assert report.cosine_mean < 0.999


def test_each_distinct_sentence_is_encoded_once(bundle):
    model = open_pipeline(bundle)
    asked = []

    def counting(texts, batch_size=32, progress=None):
        asked.append(list(texts))
        return model(texts, batch_size, progress)

    evaluate_pairs(counting, model, Pairs(("red", "red"), ("sea", "sky sea"), (1.0, 2.0)))
    assert asked == [["red", "sea", "sky sea"]]


def test_progress_runs_through_both_models(bundle):
    model, seen = open_pipeline(bundle), []
    evaluate_pairs(model, model, PAIRS, progress=lambda share, what: seen.append((share, what)))
    assert [share for share, _ in seen] == [0.5, 1.0]
    assert "original" in seen[0][1]


@pytest.mark.parametrize("scores", [(1.0,), (2.0, 2.0)])
def test_scores_without_a_correlation(bundle, scores):
    model = open_pipeline(bundle)
    pairs = Pairs(("red", "sea")[: len(scores)], ("sky", "blue")[: len(scores)], scores)
    with pytest.raises(InputError, match="different scores"):
        evaluate_pairs(model, model, pairs)


def test_model_that_says_the_same_of_every_pair(tmp_path, tiny):
    model = open_pipeline(tiny.bundle(tmp_path / "b", values=np.ones((10, 4), np.float32)))
    with pytest.raises(InputError, match="the same cosine"):
        evaluate_pairs(model, model, PAIRS)


def test_models_of_different_width(tmp_path, bundle, tiny):
    graph = tiny.graphs["feature-extraction"].replace("[b,s,4]", "[b,s,6]")
    wide = tiny.bundle(tmp_path / "w", values=tiny.table(6), graph=graph)
    with pytest.raises(InputError, match="4 and 6 columns"):
        evaluate_pairs(open_pipeline(wide), open_pipeline(bundle), PAIRS)


def test_cosine_with_zeros_is_zero():
    np.testing.assert_array_equal(cosines(np.zeros((1, 3)), np.ones((1, 3))), [0.0])

"""What is read from csv, tsv, jsonl, plain text and data sets, and what is refused."""

import json
import sys
from types import ModuleType, SimpleNamespace

import pytest

from runtime.evaluate.data.files import Files, read_files
from runtime.evaluate.data.hub import is_data_set
from runtime.evaluate.data.labelled import read_labelled
from runtime.evaluate.data.pairs import read_pairs
from runtime.evaluate.data.rows import draw
from runtime.evaluate.data.texts import read_running, read_texts
from toolkit.errors import FormatError, InputError, MissingDependencyError

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
def test_pairs(tmp_path, name, text):
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
        ("a.csv", "a,b,1\nc,no quotes, d,1\n", "line 2: 4 columns where 3 are needed"),
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


@pytest.mark.parametrize("read", [read_pairs, read_texts])
def test_other_encoding(tmp_path, read):
    with pytest.raises(FormatError, match="is not UTF-8"):
        read(write(tmp_path, "a.csv", "Grüße,b,1\n", "latin-1"))


@pytest.mark.parametrize(
    ("name", "says"), [("a.csv", "holds no pairs"), ("a.txt", r"suffix '\.txt'; use \.csv, \.tsv")]
)
def test_unusable_files(tmp_path, name, says):
    with pytest.raises(InputError, match=says):
        read_pairs(write(tmp_path, name, ""))


@pytest.mark.parametrize("read", [read_pairs, read_labelled, read_texts, read_running])
def test_no_file(tmp_path, read):
    with pytest.raises(InputError, match="is not here"):
        read(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("name", "text", "texts", "labels"),
    [
        # As in SST-2, CoLA, MRPC, QQP, QNLI, MNLI and intent collections.
        ("a.tsv", "sentence\tlabel\nso good\t1\n", ["so good"], ["1"]),
        ("a.tsv", 'so "good\t1\n', ['so "good'], ["1"]),
        ("a.tsv", "gj04\t0\t*\tHim slept.\n", ["Him slept."], ["0"]),
        (
            "a.tsv",
            "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\tOne.\tTwo.\n",
            [("One.", "Two.")],
            ["1"],
        ),
        (
            "a.tsv",
            "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n0\t1\t2\tWhy?\tHow?\t0\n",
            [("Why?", "How?")],
            ["0"],
        ),
        (
            "a.tsv",
            "index\tquestion\tsentence\tlabel\n0\tWhy?\tSo.\tentailment\n",
            [("Why?", "So.")],
            ["entailment"],
        ),
        (
            "a.tsv",
            "index\tgenre\tsentence1\tsentence2\tlabel1\tgold_label\n0\tx\tA.\tB.\tno\tyes\n",
            [("A.", "B.")],
            ["yes"],
        ),
        ("a.csv", 'text,category\n"Where, please?",card\n', ["Where, please?"], ["card"]),
        ("a.csv", "one,two,2\n", [("one", "two")], ["2"]),
        ("a.jsonl", '{"text": "hi", "label": 1}\n["ho", true]\n', ["hi", "ho"], ["1", "1"]),
        ("a.jsonl", '{"premise": "a", "hypothesis": "b", "label": 0}\n', [("a", "b")], ["0"]),
    ],
)
def test_labelled(tmp_path, name, text, texts, labels):
    data = read_labelled(write(tmp_path, name, text))
    assert list(data.texts) == texts
    assert list(data.labels) == labels
    assert len(data) == len(texts)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.tsv", "good\t1\nbad\t\n", "line 2: label '' is none"),
        ("a.jsonl", '{"text": "a", "label": -1}\n', "line 1: label -1 is none"),
        ("a.jsonl", '{"text": "a", "label": 0.5}\n', "line 1: label 0.5 is none"),
        ("a.jsonl", '{"words": "a", "label": 1}\n', "line 1: a sentence is empty or no text"),
        ("a.tsv", "a\tb\tc\td\te\n", "line 1: 5 columns without a header"),
        (
            "a.jsonl",
            '{"text": "a", "label": 1}\n{"text1": "a", "text2": "b", "label": 1}\n',
            "line 2: single texts and pairs are mixed",
        ),
    ],
)
def test_bad_labels_are_named(tmp_path, name, text, says):
    with pytest.raises(FormatError) as info:
        read_labelled(write(tmp_path, name, text))
    assert f"{name} {says}" in str(info.value)


@pytest.mark.parametrize(
    ("name", "text", "texts"),
    [
        ("a.txt", "One.\n\n  Two. \nOne.\n", ["One.", "Two."]),
        ("a.md", "# One\n", ["# One"]),
        ("a.csv", "text\n a b \n", [" a b "]),
        ("a.tsv", "good\t1\n", ["good"]),
        ("a.csv", "one,two,2.5\n", [("one", "two")]),
        ("a.jsonl", '{"text": "hi"}\n', ["hi"]),
    ],
)
def test_texts(tmp_path, name, text, texts):
    assert list(read_texts(write(tmp_path, name, text))) == texts


def test_a_long_line_is_cut_where_sentences_end(tmp_path):
    sentences = [f"{'word ' * 60}number {n}." for n in range(9)]
    pieces = read_texts(write(tmp_path, "a.txt", " ".join(sentences)))
    assert 1 < len(pieces) < 9
    assert all(len(piece) <= 1000 and piece.endswith(".") for piece in pieces)
    assert " ".join(pieces) == " ".join(sentences)


def test_a_sentence_is_never_cut(tmp_path):
    line = "word " * 500
    assert read_texts(write(tmp_path, "a.txt", line)) == (line.strip(),)


def test_running_text(tmp_path):
    plain = "One.\n\nOne.\n"
    assert read_running(write(tmp_path, "a.txt", plain)) == plain
    assert read_running(write(tmp_path, "a.csv", "a,b,1\nc,b,2\n")) == "a\nb\nc"


def test_no_text(tmp_path):
    with pytest.raises(InputError, match="holds no text"):
        read_texts(write(tmp_path, "a.txt", "\n \n"))


def test_what_is_drawn():
    assert draw(5, None, 0) == draw(5, 5, 0) == draw(5, 9, 0) == [0, 1, 2, 3, 4]
    drawn = draw(1000, 100, 0)
    assert drawn == sorted(set(drawn)) == draw(1000, 100, 0) != draw(1000, 100, 1)
    assert 300 < sum(drawn) / 100 < 700  # of all of it, not its start


@pytest.mark.parametrize("given", ["sst2:train", "nyu-mll/glue/sst2:validation", "a/b:train[:10%]"])
def test_names_of_data_sets(given):
    assert is_data_set(given)


@pytest.mark.parametrize("given", ["file.csv", "folder/file.tsv", "C:\\file.csv", "a/b/c/d:x"])
def test_names_of_files(given):
    assert not is_data_set(given)


def test_a_data_set_needs_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingDependencyError, match="pip install datasets"):
        read_labelled("glue/sst2:validation")


class Library(ModuleType):
    """As much of the package datasets as is used, with one data set in it."""

    class ClassLabel:
        def __init__(self, names):
            self.names = names

    class Rows(list):
        column_names = ("sentence", "label", "idx")

    def __init__(self, error=None):
        super().__init__("datasets")
        self.asked = []
        self.error = error
        errors = {
            name: type(name, (base,), {})
            for name, base in (("DatasetsError", Exception), ("DatasetNotFoundError", OSError))
        }
        self.exceptions = SimpleNamespace(**errors)

    def load_dataset(self, path, config, split):
        self.asked.append((path, config, split))
        if self.error is not None:
            raise self.error
        if (path, config) != ("nyu-mll/glue", "sst2"):
            raise self.exceptions.DatasetNotFoundError(f"no {path}")
        rows = self.Rows([{"sentence": "good", "label": 1, "idx": 0}])
        rows.features = {"label": self.ClassLabel(["negative", "positive"]), "sentence": "text"}
        return rows


@pytest.fixture
def library(monkeypatch):
    def install(error=None):
        module = Library(error)
        monkeypatch.setitem(sys.modules, "datasets", module)
        monkeypatch.setitem(sys.modules, "datasets.exceptions", module.exceptions)
        return module

    return install


def test_a_data_set(library):
    library()
    data = read_labelled("nyu-mll/glue/sst2:validation")
    assert (data.texts, data.labels) == (("good",), ("positive",))
    assert data.classes == ("negative", "positive")
    assert data.sample(1, 0).classes == data.classes
    assert read_texts("nyu-mll/glue/sst2:validation") == ("good",)


def test_two_names_are_an_owner_first_then_a_configuration(library):
    module = library()
    with pytest.raises(InputError, match="the hub knows no data set glue/sst2"):
        read_labelled("glue/sst2:test")
    assert module.asked == [("glue/sst2", None, "test"), ("glue", "sst2", "test")]


def test_a_data_set_without_such_columns(library):
    library()
    with pytest.raises(FormatError, match="has columns sentence, label, idx"):
        read_pairs("nyu-mll/glue/sst2:validation")


def test_no_way_to_the_hub(library):
    library(ConnectionError("no route\nto host"))
    with pytest.raises(MissingDependencyError, match=r"cannot be reached for a:b .*; give a file"):
        read_labelled("a:b")


def test_an_unknown_split(library):
    library(ValueError("Unknown split 'b'"))
    with pytest.raises(InputError, match=r"a:b cannot be loaded .Unknown split 'b'"):
        read_labelled("a:b")


def test_what_a_task_is_measured_by():
    Files(pairs="p", probe=("a", "b"), text="t").check("feature-extraction", "minilm")
    Files(text="t").check("fill-mask", "bert")
    with pytest.raises(InputError, match="bert is a fill-mask model; evaluate --pairs needs sent"):
        Files(pairs="p").check("fill-mask", "bert")
    with pytest.raises(InputError, match=r"nothing to measure bert by.*give --classify or --text"):
        Files().check("text-classification", "bert")
    with pytest.raises(InputError, match="t5 is for text2text-generation, which has no measure"):
        Files(text="t").check("text2text-generation", "t5")


def test_each_token_alone_is_for_masked_models(tmp_path):
    lines = write(tmp_path, "a.txt", "".join(f"line {n}\n" for n in range(20)))
    read = read_files(Files(text=lines, exact=True), "fill-mask")
    assert (read.tokens, read.exact) == (1000, True)
    with pytest.raises(InputError, match="gpt is a text-generation model; only masked"):
        Files(text="t", exact=True).check("text-generation", "gpt")


def test_files_are_read_for_the_task(tmp_path):
    lines = write(tmp_path, "a.txt", "".join(f"line {n}\n" for n in range(20)))
    read = read_files(Files(text=lines), "feature-extraction", limit=5, seed=1)
    assert len(read.texts) == 5
    assert read.notes == (f"drew 5 of the 20 texts of {lines}",)
    read = read_files(Files(text=lines), "text-generation", limit=5)
    assert (read.running, read.tokens, read.texts) == (lines.read_text(), 5, None)


def test_encoders_take_both_sides_of_a_pair_alone(tmp_path):
    pairs = write(tmp_path, "a.csv", "one,two,1\ntwo,three,2\n")
    files = Files(text=pairs)
    assert read_files(files, "feature-extraction").texts == ("one", "two", "three")
    assert read_files(files, "text-classification").texts == (("one", "two"), ("two", "three"))


def test_texts_that_are_in_both_files_of_a_probe(tmp_path):
    one = write(tmp_path, "a.csv", "x,1\ny,0\n")
    two = write(tmp_path, "b.csv", "x,1\nz,0\n")
    assert (
        "1 texts of the probe's test file"
        in read_files(Files(probe=(one, two)), "feature-extraction").notes[0]
    )


def test_a_limit_of_one():
    with pytest.raises(InputError, match="limit must be at least 2, got 1"):
        read_files(Files(text="t"), "fill-mask", limit=1)


_LINE = "one\u2028line\x0b\x0c\x85\rstill"


def test_lines_of_plain_text_end_at_line_feeds_alone(tmp_path):
    path = write(tmp_path, "a.txt", f"{_LINE}\r\ntwo\n")
    assert read_texts(path) == (_LINE, "two")
    assert read_running(path) == f"{_LINE}\ntwo\n"


def test_lines_of_jsonl_too(tmp_path):
    line = json.dumps({"text": _LINE, "label": "x"}, ensure_ascii=False)
    path = write(tmp_path, "a.jsonl", f"{line}\r\n{line}\n")
    assert read_labelled(path).texts == (_LINE, _LINE)


def test_lines_of_tables_too(tmp_path):
    pairs = read_pairs(write(tmp_path, "a.tsv", f"{_LINE}\tb\t1\r\nc\td\t2\n"))
    assert (pairs.left, pairs.right) == ((_LINE, "c"), ("b", "d"))
    assert read_pairs(write(tmp_path, "a.csv", f'"{_LINE}",b,1\r\nc,d,2\r\n')).left == (_LINE, "c")
    with pytest.raises(FormatError, match=r"line 1: new-line character seen .*; check its quotes"):
        read_pairs(write(tmp_path, "a.csv", "a\rb,c,1\nd,e,2\n"))


@pytest.mark.parametrize("line", ["[" * 100_000, '{"a":' * 100_000, "[NaN, 1, 2]", "9" * 5000])
def test_a_line_of_jsonl_that_is_no_json_is_refused_in_one_line(tmp_path, line):
    path = write(tmp_path, "a.jsonl", line + "\n")
    with pytest.raises(FormatError, match=r"line 1 is no JSON") as caught:
        read_pairs(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300

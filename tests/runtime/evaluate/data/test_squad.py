"""Files of questions, and SQuAD's exact match and F1 by hand."""

import json

import pytest

from runtime.evaluate.data.squad import Questions, read_squad
from runtime.evaluate.metrics import question_answering as measure
from toolkit.errors import FormatError, InputError, MissingDependencyError

V1 = {
    "version": "1.1",
    "data": [
        {
            "title": "Sea",
            "paragraphs": [
                {
                    "context": "The sea is blue.",
                    "qas": [
                        {
                            "id": "1",
                            "question": "What is blue?",
                            "answers": [
                                {"answer_start": 0, "text": "The sea"},
                                {"answer_start": 4, "text": "sea"},
                            ],
                        }
                    ],
                },
                {"context": "Nobody asks.", "qas": []},
            ],
        },
        {
            "title": "Sky",
            "paragraphs": [
                {
                    "context": "The sky is grey.",
                    "qas": [
                        {
                            "id": "2",
                            "question": "What colour is the sky?",
                            "answers": [{"answer_start": 11, "text": "grey"}],
                        }
                    ],
                }
            ],
        },
    ],
}
READ = Questions(
    ("What is blue?", "What colour is the sky?"),
    ("The sea is blue.", "The sky is grey."),
    (("The sea", "sea"), ("grey",)),
)


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


def changed(**entry):
    """V1 whose last question has these values instead."""
    data = json.loads(json.dumps(V1))
    data["data"][1]["paragraphs"][0]["qas"][0].update(entry)
    return data


def test_version_1(tmp_path):
    questions = read_squad(write(tmp_path / "dev.json", V1))
    assert questions == READ
    assert (len(questions), questions.unanswerable) == (2, 0)


@pytest.mark.parametrize(
    "entry",
    [
        {"is_impossible": True, "answers": [], "plausible_answers": [{"text": "grey"}]},
        {"is_impossible": True, "answers": [{"text": "grey", "answer_start": 11}]},
        {"answers": []},
    ],
)
def test_version_2_has_questions_without_answers(tmp_path, entry):
    questions = read_squad(write(tmp_path / "dev.json", changed(**entry)))
    assert questions.answers == (("The sea", "sea"), ())
    assert questions.unanswerable == 1


def test_answers_of_a_question_that_has_them(tmp_path):
    data = changed(is_impossible=False)
    assert read_squad(write(tmp_path / "dev.json", data)) == READ


@pytest.mark.parametrize(
    "answers",
    [
        ["The sea", "sea"],
        [{"text": "The sea", "answer_start": 0}, {"text": "sea"}],
        {"text": ["The sea", "sea"], "answer_start": [0, 4]},
    ],
)
def test_lines(tmp_path, answers):
    first = {"id": 7, "question": READ.questions[0], "context": READ.contexts[0]}
    second = {"question": READ.questions[1], "context": READ.contexts[1], "answers": ["grey"]}
    rows = [first | {"answers": answers}, second]
    lines = "\ufeff" + "\n\n".join(map(json.dumps, rows)) + "\n"
    assert read_squad(write(tmp_path / "dev.jsonl", lines)) == READ
    assert read_squad(write(tmp_path / "dev.json", rows)) == READ


def test_some_of_them():
    questions = Questions(
        tuple(map(str, range(9))), tuple("abcdefghi"), tuple((str(i),) for i in range(9))
    )
    some = questions.sample(4, seed=0)
    assert len(some) == 4
    assert list(some.questions) == sorted(some.questions)
    chosen = [int(number) for number in some.questions]
    assert some.contexts == tuple("abcdefghi"[i] for i in chosen)
    assert some.answers == tuple((str(i),) for i in chosen)
    assert questions.sample(4, seed=1) != some == questions.sample(4, seed=0)
    assert questions.sample(None, seed=0) == questions.sample(99, seed=0) == questions


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "{", r"a\.json is no JSON"),
        ("a.json", {"data": 3}, r"a\.json has no list 'data'"),
        ("a.json", 3, r"a\.json has no list 'data'"),
        ("a.json", {"data": [{}]}, r"data\[0\] has no list 'paragraphs'"),
        ("a.json", {"data": [{"paragraphs": [{}]}]}, r"paragraphs\[0\] has no context"),
        ("a.json", changed(question=" "), r"data\[1\]\.paragraphs\[0\]\.qas\[0\] has no question"),
        ("a.json", changed(answers=None), r"qas\[0\] has no list of answers"),
        ("a.json", changed(answers=[{"text": ""}]), r"qas\[0\] has '' for an answer"),
        ("a.json", changed(answers=[3]), r"qas\[0\] has 3 for an answer"),
        ("a.json", [{"question": "a"}], r"a\.json \[0\] has no context"),
        ("a.jsonl", '\n{"question": "a"}', r"a\.jsonl line 2 has no context"),
        ("a.jsonl", "{}\n", r"line 1 has no question"),
        ("a.jsonl", "[]\n", r"line 1 has no question"),
        ("a.jsonl", "{]\n", r"line 1 is no JSON"),
    ],
)
def test_what_is_amiss_and_where(tmp_path, name, content, message):
    with pytest.raises(FormatError, match=message) as info:
        read_squad(write(tmp_path / name, content))
    assert "\n" not in str(info.value)


def test_other_text_than_utf8(tmp_path):
    for name in ("a.json", "a.jsonl"):
        (tmp_path / name).write_bytes(b'{"question": "caf\xe9"}')
        with pytest.raises(FormatError, match="is not UTF-8"):
            read_squad(tmp_path / name)


def test_no_file_another_suffix_and_nothing_in_it(tmp_path):
    with pytest.raises(InputError, match=r"is not here; give a \.json or \.jsonl"):
        read_squad(tmp_path / "none.json")
    with pytest.raises(InputError, match=r"suffix '\.csv'; use \.json, \.jsonl"):
        read_squad(write(tmp_path / "a.csv", "question"))
    for name, content in (("a.json", {"data": []}), ("a.jsonl", "\n")):
        with pytest.raises(InputError, match="holds no questions"):
            read_squad(write(tmp_path / name, content))


def test_a_data_set_of_the_hub(monkeypatch):
    rows = [
        {
            "question": question,
            "context": context,
            "answers": {"text": list(answers), "answer_start": [0] * len(answers)},
        }
        for question, context, answers in zip(
            READ.questions, READ.contexts, READ.answers, strict=True
        )
    ]
    asked = []

    def data_set(given):
        asked.append(given)
        return type("Split", (), {"rows": rows})

    monkeypatch.setattr("runtime.evaluate.data.squad.data_set", data_set)
    assert read_squad("rajpurkar/squad:validation") == READ
    assert asked == ["rajpurkar/squad:validation"]
    rows[1]["context"] = None
    with pytest.raises(FormatError, match="rajpurkar/squad:validation row 1 has no context"):
        read_squad("rajpurkar/squad:validation")


def test_a_data_set_without_the_package(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(MissingDependencyError, match="pip install datasets"):
        read_squad("rajpurkar/squad:validation")


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Sea,\tan end.", "sea end"),
        ("A-team's theatre", "ateams theatre"),
        ("the", ""),
        ("", ""),
        ("Über 3½ “quoted”", "über 3½ “quoted”"),
    ],
)
def test_normalised(text, normal):
    assert measure.normalised(text) == normal


@pytest.mark.parametrize(
    ("found", "answer", "exact", "overlap"),
    [
        ("The sea.", "sea", 1, 1),
        ("blue sea", "the sea", 0, 2 / 3),  # precision 1/2, recall 1
        ("red sea red sky", "red red red wine", 0, 1 / 2),  # two reds in common, of 4 and 4
        ("sky", "sea", 0, 0),
        ("", "", 1, 1),
        ("the", "", 1, 1),
        ("sea", "", 0, 0),
        ("", "sea", 0, 0),
    ],
)
def test_scores_by_hand(found, answer, exact, overlap):
    assert measure.exact_match(found, answer) == exact
    assert measure.f1(found, answer) == pytest.approx(overlap)
    assert measure.f1(answer, found) == pytest.approx(overlap)


def test_scores_as_transformers_has_them():
    theirs = pytest.importorskip("transformers.data.metrics.squad_metrics")
    words = ["", "the", "The sea", "sea", "a sea of Blue", "blue, blue", "blue sea!", "an", "it's"]
    for found in words:
        for answer in words:
            assert measure.exact_match(found, answer) == theirs.compute_exact(answer, found)
            assert measure.f1(found, answer) == pytest.approx(theirs.compute_f1(answer, found))


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_what_is_nested_too_deep_is_refused(tmp_path, name):
    path = tmp_path / name
    path.write_text('{"data":' * 100_000)
    with pytest.raises(FormatError, match="nested deeper"):
        read_squad(path)

"""Questions as a task: windows, answers as tokens and back, and what is kept for the test."""

import json

import numpy as np
import pytest
from downstream.questions import best_span, read_file, read_questions
from transformers import BertTokenizerFast

from toolkit.errors import FormatError, InputError

LENGTH, OVERLAP = 24, 6


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    vocabulary = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "who", "?", *_words()]
    vocabulary.write_text("\n".join(words), encoding="utf-8")
    return BertTokenizerFast(str(vocabulary))


def _words():
    return [*(f"w{number}" for number in range(60)), *(f"a{number}" for number in range(8))]


def article(number):
    """Forty words, the first the article's own; the answer is two of them, late or early."""
    words = [f"a{number}", *(f"w{(number + place) % 60}" for place in range(39))]
    context = " ".join(words)
    first = 30 if number % 3 else 4
    answer = " ".join(words[first : first + 2])
    answers = [{"text": answer, "answer_start": context.index(answer)}]
    entry = {"id": str(number), "question": "who ?", "answers": answers}
    return {"title": str(number), "paragraphs": [{"context": context, "qas": [entry]}]}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "xquad").mkdir()
    text = json.dumps({"data": [article(number) for number in range(8)]})
    (tmp_path / "xquad" / "set.json").write_text(text)
    return tmp_path / "xquad"


def perfect(task):
    """Outputs of a model that knows: high on the answer's tokens in the windows that hold it."""
    found = []
    for owner, places in zip(task.owner, task.places, strict=True):
        question = task.asked[owner]
        end_of = question.start + len(question.answers[0])
        start, end = np.zeros(len(places)), np.zeros(len(places))
        for index, place in enumerate(places):
            if place is not None:
                start[index] = 9 * (place[0] == question.start)
                end[index] = 9 * (place[1] == end_of)
        found.append({"start_logits": start, "end_logits": end})
    return found


def test_one_file_is_divided_by_article(folder, tokenizer):
    task = read_questions(folder, tokenizer, LENGTH, OVERLAP, None)
    assert [one.article for one in task.asked] == [3, 7]
    assert "by article" in task.remark
    texts = " ".join(tokenizer.decode(feature["input_ids"]) for feature in task.train).split()
    assert {word for word in texts if word[0] == "a"} == {f"a{n}" for n in (0, 1, 2, 4, 5, 6)}


def test_a_model_that_knows_scores_all_and_one_that_does_not_less(folder, tokenizer):
    task = read_questions(folder, tokenizer, LENGTH, OVERLAP, None)
    assert task.score(perfect(task)) == {"exact match": 100, "F1": 100, "score": 100}
    blind = [{name: 0 * value for name, value in outputs.items()} for outputs in perfect(task)]
    assert task.score(blind)["score"] < 50


def test_what_is_learnt_are_the_tokens_of_the_answer_or_the_first_token(folder, tokenizer):
    task = read_questions(folder, tokenizer, LENGTH, OVERLAP, None)
    answers = [question.answers[0] for question in read_file(folder / "set.json")]
    seen = 0
    for feature in task.train:
        assert len(feature["input_ids"]) <= LENGTH
        start, end = feature["start_positions"], feature["end_positions"]
        if (start, end) == (0, 0):
            continue
        seen += 1
        assert tokenizer.decode(feature["input_ids"][start : end + 1]) in answers
    assert 6 <= seen < len(task.train)
    assert "start_positions" not in task.test[0]


def test_train_and_dev_files_are_taken_as_they_come(folder, tokenizer):
    for name, numbers in (("train-v1.json", (0, 1, 2)), ("dev-v1.json", (5,))):
        text = json.dumps({"data": [article(number) for number in numbers]})
        (folder / name).write_text(text)
    (folder / "set.json").unlink()
    task = read_questions(folder, tokenizer, LENGTH, OVERLAP, None)
    assert (len(task.asked), task.remark) == (1, "")
    few = read_questions(folder, tokenizer, LENGTH, OVERLAP, 1)
    assert 0 < len(few.train) < len(task.train)


def test_files_that_will_not_do_are_named(folder, tokenizer):
    (folder / "set.json").write_text(json.dumps({"data": [article(0)]}))
    with pytest.raises(InputError, match="fewer than 4 articles"):
        read_questions(folder, tokenizer, LENGTH, OVERLAP, None)
    (folder / "set.json").write_text("{")
    with pytest.raises(FormatError, match="no JSON"):
        read_questions(folder, tokenizer, LENGTH, OVERLAP, None)


def test_a_span_ends_after_it_starts_within_the_context_and_not_too_late():
    places = [None, *((2 * index, 2 * index + 1) for index in range(40))]
    start, end = np.zeros(41), np.zeros(41)
    start[0], start[10], end[5], end[12] = 99, 5, 5, 1
    assert best_span(start, end, places) == (6.0, 18, 23)
    end[40] = 8  # thirty-one tokens from the tenth
    assert best_span(start, end, places)[0] == 8.0
    end[39] = 7  # thirty
    assert best_span(start, end, places) == (12.0, 18, 77)
    assert best_span(start, end, [None] * 41) is None

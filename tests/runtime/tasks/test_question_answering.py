"""Answers as spans: hand-made logits, long contexts, no answers, and a model that learnt a task."""

import json

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from exporters import ExportOptions, export
from exporters.sources.to_onnx import has_optimum
from runtime.evaluate.data.squad import Questions
from runtime.evaluate.figures import ORIGINAL
from runtime.evaluate.metrics.question_answering import question_answering
from runtime.evaluate.model import EvaluatedModel
from runtime.session import open_session
from runtime.tasks import question_answering as pipeline
from runtime.tasks.pipeline import open_pipeline
from runtime.tasks.question_answering import QuestionAnswering
from runtime.tasks.text_classification import softmax
from runtime.tasks.tokenize import open_tokenizer
from toolkit import Budget, LightTokenConfig
from toolkit.cli.app import run
from toolkit.errors import InputError

# Logits of start and end at each place are what the table has for the token there.
GRAPH = """
    <ir_version: 9, opset_import: ["" : 18]>
    g (int64[b,s] input_ids, int64[b,s] attention_mask) => (float[b,s] start_logits, float[b,s] end_logits)
    {
      both = Gather(table, input_ids)
      zero = Constant<value_int = 0>()
      one = Constant<value_int = 1>()
      start_logits = Gather<axis = 2>(both, zero)
      end_logits = Gather<axis = 2>(both, one)
    }"""  # noqa: E501
# PAD, UNK, CLS, SEP, MASK, red, green, blue, sea, sky
STARTS = [1e6, 0, 1, 9e5, 0, 5, 0, 3, 0, 0]
ENDS = [1e6, 0, 1, 9e5, 0, 0, 0, 0, 4, 2]


@pytest.fixture
def folder(tmp_path, tiny):
    """``folder(starts, ends, **facts)``: a bundle of GRAPH."""

    def build(starts=STARTS, ends=ENDS, name="qa", **facts):
        values = np.array([starts, ends], np.float32).T
        options = {"max_length": 12, "pooling": None} | facts
        return tiny.bundle(tmp_path / name, "question-answering", values, graph=GRAPH, **options)

    return build


@pytest.fixture
def subject(folder):
    def build(name, *arguments):
        path = folder(*arguments, name=name)
        return EvaluatedModel(
            name, open_session(path), open_tokenizer(path), "question-answering", path
        )

    return build


def texts(answers):
    return [answer.text for answer in answers]


def test_best_span_of_the_context_with_its_place(folder):
    answer = open_pipeline(folder())
    assert isinstance(answer, QuestionAnswering)
    context = "sky  red green  sea blue"
    ((best, second, *_),) = answer([("red sea", context)], top_k=99)
    # red .. sea: 5 + 4, red alone 5 + 0; the question's own red and sea do not count.
    assert (best.text, best.start, best.end) == ("red green  sea", 5, 19)
    assert (second.text, second.start) == ("red", 5) or second.text == "red green"
    assert best.score > second.score


def test_scores_are_shares_of_all_spans(folder):
    ((*answers,),) = open_pipeline(folder())([("red", "red sky")], top_k=99)
    # red .. red 5, red .. sky 7, sky .. sky 2; sky .. red runs backwards.
    assert texts(answers) == ["red sky", "red", "sky"]
    np.testing.assert_allclose([a.score for a in answers], softmax(np.array([7.0, 5.0, 2.0])))


def test_order_of_questions_and_batches(folder):
    answer = open_pipeline(folder())
    questions = [("sky", "blue sea"), ("sky", "red " * 30), ("sky", "green red sky green")] * 3
    whole = answer(questions)
    assert [texts(each) for each in whole[:3]] == [["blue sea"], ["red"], ["red sky"]]
    assert whole == answer(questions, batch_size=1)
    assert whole[:3] * 3 == whole


def test_an_answer_beyond_the_first_window(folder):
    answer = open_pipeline(folder())
    # 12 tokens: 3 special ones, 1 of the question, 8 of the context, of which 4 are shared.
    context = "green " * 17 + "red sea " + "green " * 13
    ((best,),) = answer([("sky", context)])
    assert (best.text, best.start) == ("red sea", 17 * 6)
    # Wherever it stands, some window has both of its words.
    for before in range(12):
        context = "green " * before + "red sea" + " green" * 12
        ((best,),) = answer([("sky", context)])
        assert (best.text, best.start) == ("red sea", 6 * before)


def test_the_best_of_all_windows_counts_and_each_span_once(folder):
    answer = open_pipeline(folder(STARTS, [0, 0, 1, 0, 0, 0, 0, 0, 4, 2]))
    context = "blue " + "green " * 20 + "red " + "green " * 20
    ((*answers,),) = answer([("sky", context)], top_k=20)
    assert answers[0].text.startswith("red")
    spans = [(a.start, a.end) for a in answers]
    assert len(set(spans)) == len(spans) == 20
    assert sum(a.score for a in answers) <= 1 + 1e-12


def test_a_span_of_two_windows_has_its_better_score():
    spans = [pipeline._Span(0, 3, 5.0), pipeline._Span(4, 7, 3.0), pipeline._Span(0, 3, 1.0)]
    for order in (spans, spans[::-1]):
        answers = pipeline._best("red sea", order, None, 9)
        assert texts(answers) == ["red", "sea"]
        assert answers[0].score / answers[1].score == pytest.approx(np.exp(2))


def test_an_answer_has_at_most_thirty_tokens(folder):
    answer = open_pipeline(folder(max_length=100))
    assert pipeline.LONGEST_ANSWER == 30
    for between, found in ((28, True), (29, False)):
        ((best,),) = answer([("sky", "red " + "green " * between + "sea")])
        assert best.text.endswith("sea") == found


def test_a_span_may_start_where_many_others_would_rather(folder):
    starts = [*STARTS[:6], 0.5, *STARTS[7:]]
    answer = open_pipeline(folder(starts, max_length=100))
    ((best,),) = answer([("sky", "green sea " + "green " * 31 + "blue " * 40)])
    assert best.text == "green sea"  # 4.5; each blue alone has 3


def test_windows_are_of_384_tokens_that_share_128(folder, tiny, tmp_path, monkeypatch):
    seen = []
    answer = open_pipeline(folder(max_length=512))
    original = type(answer.session).run

    def spy(self, feeds, outputs):
        seen.append(feeds["input_ids"])
        return original(self, feeds, outputs)

    monkeypatch.setattr(type(answer.session), "run", spy)
    answer([("sky", "green " * 380 + "red " + "green " * 380)])
    (ids,) = seen
    # 380 of the context a window, a step of 252.
    assert ids.shape == (3, 384)
    assert [np.flatnonzero(row == 5).tolist() for row in ids] == [[], [3 + 380 - 252], []]


def test_no_answer_where_it_may_be_none(folder):
    questions = [("sky", "green blue"), ("sky", "green green"), ("sky", "red " + "green " * 20)]
    answer = open_pipeline(folder())
    # [CLS] has 1 + 1; blue 3 + 0; green 0 + 0.
    found = answer(questions, no_answer=True)
    assert [texts(each) for each in found] == [["blue"], [""], ["red"]]
    ((nothing, first, *_),) = answer(questions[1:2], top_k=3, no_answer=True)
    assert (nothing.text, nothing.start, nothing.end) == ("", 0, 0)
    assert nothing.score / first.score == pytest.approx(np.exp(2))
    assert texts(answer(questions)[1]) != [""]


def test_length_that_a_graph_fixes(tmp_path, tiny, folder):
    fixed = GRAPH.replace("b,s", "2,8")
    values = np.array([STARTS, ENDS], np.float32).T
    path = tiny.bundle(
        tmp_path / "fixed", "question-answering", values, graph=fixed, max_length=12, pooling=None
    )
    questions = [("sky", "green " * 9 + "red sea")] * 3
    found = open_pipeline(path)(questions)
    assert [texts(each) for each in found] == [["red sea"]] * 3


def test_spaces_that_belong_to_tokens_are_left_out(folder):
    path = folder()
    library = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    library.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_next")
    library.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    library.save(str(path / "tokenizer.json"))
    ((best,),) = open_pipeline(path, verify=False)([("sky", "sky red sea")])
    assert (best.text, best.start, best.end) == ("red sea", 4, 11)


def test_a_context_without_tokens_has_no_answer(folder):
    path = folder()
    library = Tokenizer.from_file(str(path / "tokenizer.json"))
    library.normalizer = normalizers.Replace("~", "")
    library.save(str(path / "tokenizer.json"))
    answer = open_pipeline(path, verify=False)
    assert answer([("sky", "~"), ("sky", "red")])[0] == ()
    assert texts(answer([("sky", "~")], no_answer=True)[0]) == [""]


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", " red", "green", "blue", " sea", "sky"]


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        (["what"], "'what' is no question with its context"),
        ([("what",)], "no question with its context"),
        ([("sky", " ")], "the context ' ' is empty"),
        ([("", "red")], "the question '' is empty"),
        ([("sky", None)], "the context None is empty or no text"),
        ([("sky " * 9, "red")], "no room beside 3 special tokens and the 9 of"),
    ],
)
def test_questions_that_are_none(folder, questions, message):
    with pytest.raises(InputError, match=message) as info:
        open_pipeline(folder())(questions)
    assert "\n" not in str(info.value)


def test_bad_numbers(folder):
    answer = open_pipeline(folder())
    with pytest.raises(InputError, match="top_k must be at least 1, got 0"):
        answer([("sky", "red")], top_k=0)
    with pytest.raises(InputError, match="batch_size must be at least 1, got 0"):
        answer([("sky", "red")], batch_size=0)
    assert answer([]) == []


def test_a_graph_without_the_two_outputs(tmp_path, tiny):
    path = tiny.bundle(
        tmp_path / "b", "question-answering", tiny.table(10), graph=tiny.graphs["fill-mask"]
    )
    with pytest.raises(InputError, match="gives logits; question-answering needs start_logits"):
        open_pipeline(path)


QUESTIONS = Questions(
    ("sky", "sky", "green", "sky"),
    ("green red sea", "blue green", "sky red sea", "green green"),
    (("red sea",), ("green", "a green"), ("the sea", "sky"), ()),
)


def test_measure_by_hand(subject):
    flat = [0.0] * 10
    models = [subject(ORIGINAL), subject("none", [0, 0, 50, *flat[3:]], flat)]
    seen = []
    figures = question_answering(
        models, QUESTIONS, resamples=200, progress=lambda *a: seen.append(a)
    )
    values = {(f.model, f.metric): f.score.value for f in figures}
    # The original: red sea (1, 1), blue (0, 0), red sea for sea (0, 2/3), no answer (1, 1).
    assert values[ORIGINAL, "exact match"] == pytest.approx(50)
    assert values[ORIGINAL, "F1"] == pytest.approx(100 * (1 + 0 + 2 / 3 + 1) / 4)
    # The other one never answers, and is right once.
    assert values["none", "exact match"] == values["none", "F1"] == pytest.approx(25)
    by_name = {(f.model, f.metric): f for f in figures}
    assert by_name["none", "exact match"].difference.value == pytest.approx(-25)
    assert {(f.measure, f.count, f.higher_is_better) for f in figures} == {("qa", 4, True)}
    assert seen[-1] == (1.0, "answering questions")


def test_no_answer_is_allowed_only_where_some_question_has_none(subject):
    model = subject("none", [0, 0, 50, *[0.0] * 7], [0.0] * 10)
    sure = Questions(QUESTIONS.questions[:1], ("red",), (("red",),))
    for figure in question_answering([model], sure, resamples=10):
        assert figure.score.value == 100


def test_an_answer_of_articles_alone_does_not_count_beside_another(subject):
    for answers, score in ((("the", "sea"), 0), (("the",), 100)):
        only = Questions(("sky",), ("the",), (answers,))
        for figure in question_answering([subject(f"m{score}")], only, resamples=10):
            assert figure.score.value == score


def test_the_same_model_differs_by_nothing(subject):
    models = [subject(ORIGINAL), subject("same")]
    for figure in question_answering(models, QUESTIONS, resamples=50):
        if figure.model == "same":
            assert (figure.difference.value, figure.difference.low, figure.difference.high) == (
                (0,) * 3
            )


def test_other_tasks_have_no_answers(tmp_path, tiny):
    path = tiny.bundle(tmp_path / "b", "fill-mask", tiny.table(10))
    model = EvaluatedModel("mask", open_session(path), open_tokenizer(path), "fill-mask", path)
    with pytest.raises(InputError, match="mask is a fill-mask model; questions need a model that"):
        question_answering([model], QUESTIONS)


COLOURS, PLACES = [f"colour{i}" for i in range(20)], [f"place{i}" for i in range(20)]
FILLERS = [f"word{i}" for i in range(155)]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *COLOURS, *PLACES, *FILLERS]


def toy_questions(count, seed):
    """«word0» asks for the colour in the context, «word1» for the place."""
    rng = np.random.default_rng(seed)
    questions, contexts, answers = [], [], []
    for _ in range(count):
        words = list(rng.choice(FILLERS[2:], 8))
        pick = [str(rng.choice(COLOURS)), str(rng.choice(PLACES))]
        places = sorted(rng.choice(8, 2, replace=False).tolist())
        order = rng.permutation(2)
        for place, which in zip(places, order, strict=True):
            words[place] = pick[which]
        asked = int(rng.integers(2))
        questions.append(f"word{asked}")
        contexts.append(" ".join(words))
        answers.append((pick[asked],))
    return Questions(tuple(questions), tuple(contexts), tuple(answers))


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """A BERT that learnt the toy task in seconds, with its tokenizer."""
    folder = tmp_path_factory.mktemp("models") / "toy-answers"
    library = Tokenizer(models.WordLevel({w: i for i, w in enumerate(VOCABULARY)}, "[UNK]"))
    library.pre_tokenizer = pre_tokenizers.Whitespace()
    library.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    library.add_special_tokens(VOCABULARY[:5])
    torch.manual_seed(0)
    model = transformers.BertForQuestionAnswering(
        transformers.BertConfig(
            vocab_size=len(VOCABULARY),
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=40,
            initializer_range=0.2,  # as usual, 0.02, so small a model learns nothing for long
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    ).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(150):
        batch = toy_questions(64, 1000 + step)
        rows = library.encode_batch(list(zip(batch.questions, batch.contexts, strict=True)))
        ids = torch.tensor([row.ids for row in rows])
        wanted = torch.tensor([[library.token_to_id(answer[0])] for answer in batch.answers])
        place = (ids == wanted).int().argmax(1)
        loss = model(
            input_ids=ids,
            token_type_ids=torch.tensor([row.type_ids for row in rows]),
            start_positions=place,
            end_positions=place,
        ).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval().save_pretrained(folder)
    library.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "[PAD]",
        "model_max_length": 40,
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def toy(learnt, tmp_path_factory):
    """``toy(exporter)``: the bundle, and the file that it was made from."""
    made = {}

    def build(exporter):
        if exporter not in made:
            work = tmp_path_factory.mktemp("toy")
            options = ExportOptions(config=LightTokenConfig(rounds=1), exporter=exporter)
            manifest = export(
                str(learnt), work / "bundle", Budget(ratio=3), options=options, keep_original=work
            )
            assert manifest.task == "question-answering"
            made[exporter] = work / "bundle", work / "original" / "model.onnx"
        return made[exporter]

    return build


@pytest.mark.parametrize("exporter", ["dynamo", "optimum"])
def test_a_model_that_learnt_to_answer(toy, exporter):
    if exporter == "optimum" and not has_optimum():
        pytest.skip("needs optimum")
    bundle, original = toy(exporter)
    subjects = [
        EvaluatedModel(
            name, open_session(path), open_tokenizer(bundle), "question-answering", bundle
        )
        for name, path in ((ORIGINAL, original), ("bundle", bundle))
    ]
    figures = question_answering(subjects, toy_questions(200, 0), resamples=100)
    score = {(f.model, f.metric): f.score.value for f in figures}
    assert score[ORIGINAL, "exact match"] > 95
    # Who takes the colour whatever is asked is right half of the time.
    assert 60 < score["bundle", "exact match"] <= score["bundle", "F1"]
    difference = next(f.difference for f in figures if f.model == "bundle")
    assert difference.low <= difference.value <= difference.high


def test_the_answers_are_torchs(toy, learnt):
    bundle, original = toy("dynamo")
    questions = toy_questions(20, 5)
    pairs = list(zip(questions.questions, questions.contexts, strict=True))
    found = open_pipeline(original, like=bundle)(pairs)
    library = Tokenizer.from_file(str(learnt / "tokenizer.json"))
    model = transformers.BertForQuestionAnswering.from_pretrained(learnt).eval()
    for (question, context), (best,) in zip(pairs, found, strict=True):
        row = library.encode(question, context)
        with torch.no_grad():
            out = model(
                input_ids=torch.tensor([row.ids]), token_type_ids=torch.tensor([row.type_ids])
            )
        inside = range(3, len(row.ids) - 1)
        _, start, end = max(
            (float(out.start_logits[0, i] + out.end_logits[0, j]), i, j)
            for i in inside
            for j in inside
            if i <= j
        )
        assert best.text == context[row.offsets[start][0] : row.offsets[end][1]]


def test_the_command_line(toy, capfd):
    bundle, _ = toy("dynamo")
    context = "word5 colour3 word7 place9 word8"
    assert run(["run", str(bundle), "word0", context, "--json"]) == 0
    (result,) = json.loads(capfd.readouterr().out)
    assert (result["question"], result["context"]) == ("word0", context)
    assert len(result["answers"]) == 3
    best = result["answers"][0]
    assert context[best["start"] : best["end"]] == best["text"]
    lines = [json.dumps({"question": f"word{i}", "context": context}) for i in (0, 1)]
    assert run(["run", str(bundle), *lines]) == 0
    shown = capfd.readouterr().out.splitlines()
    assert shown[0::2] == ["word0", "word1"]
    assert shown[1].startswith(f"  {best['text']} {best['score']:.1%}, ")


@pytest.mark.parametrize(
    "given",
    [["who"], ["who", '{"question": "a"}'], ["a", "b", "c"], ["[1]"], ['{"question": "a"}']],
)
def test_the_command_line_refuses_what_is_no_question(toy, capfd, given):
    bundle, _ = toy("dynamo")
    assert run(["run", str(bundle), *given]) == 2
    error = capfd.readouterr().err
    assert "is no question with its context; give the two, or {" in error
    assert error.count("\n") == 1


def test_lines_of_standard_input(toy, capfd, monkeypatch):
    import io

    bundle, _ = toy("dynamo")
    line = json.dumps({"question": "word0", "context": "word5 colour3"})
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{line}\n\n{line}\n"))
    assert run(["run", str(bundle), "-", "--json"]) == 0
    assert len(json.loads(capfd.readouterr().out)) == 2
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    assert run(["run", str(bundle), "-"]) == 2
    assert "standard input holds no text" in capfd.readouterr().err

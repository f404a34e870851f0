"""Perplexity against hand-worked values and against transformers' own loss."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, processors

from exporters.sources.facts import read_facts
from exporters.sources.to_onnx import export_onnx, has_optimum
from runtime.evaluate.figures import ORIGINAL
from runtime.evaluate.metrics import distributions
from runtime.evaluate.metrics.language_model import language_model, losses
from runtime.evaluate.model import EvaluatedModel
from runtime.session import open_session
from runtime.tasks.tokenize import open_tokenizer
from toolkit.errors import InputError

TEXT = "red green blue sea sky red green blue sea"  # 9 tokens: windows of 6 and 3
IDS = np.array([5, 6, 7, 8, 9, 5, 6, 7, 8])
SIZES = {
    "vocab_size": 10,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 16,
}
GPT2 = {"vocab_size": 10, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 16}
SPECIAL = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
MODELS = {
    "BertForMaskedLM": ("fill-mask", SIZES),
    "GPT2LMHeadModel": ("text-generation", GPT2 | SPECIAL),
    "LlamaForCausalLM": ("text-generation", SIZES | SPECIAL | {"num_key_value_heads": 1}),
}


def log_softmax(logits):
    wide = np.asarray(logits, np.float64)
    wide = wide - wide.max(-1, keepdims=True)
    return wide - np.log(np.exp(wide).sum(-1, keepdims=True))


@pytest.fixture
def table_model(tmp_path, tiny):
    """``table_model(task, table)``: the logits after token k are row k of the table."""

    def build(task, values, name=ORIGINAL, max_length=8):
        folder = tmp_path / f"{name}-{task}"
        tiny.bundle(folder, "fill-mask", values, max_length=max_length)
        return EvaluatedModel(name, open_session(folder), open_tokenizer(folder), task, folder)

    return build


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """``real(architecture, exporter)``: a random model in torch and as an open graph."""
    built = {}

    def build(architecture, exporter="dynamo", with_past=False):
        key = architecture, exporter, with_past
        if key not in built:
            folder = tmp_path_factory.mktemp("models")
            task, sizes = MODELS[architecture]
            kind = getattr(transformers, architecture)
            torch.manual_seed(0)
            model = kind(kind.config_class(**sizes)).eval()
            with torch.no_grad():  # as made, all tokens are about as likely
                for weight in model.parameters():
                    weight.mul_(9.0 if weight.ndim > 1 else 1.0)
            model.save_pretrained(folder)
            path, _ = export_onnx(
                folder, read_facts(folder), folder / "onnx", exporter, with_past=with_past
            )
            built[key] = model, open_session(path), task
        return built[key]

    return build


@pytest.fixture
def subject(bundle, real):
    def build(*arguments, name=ORIGINAL, **options):
        model, session, task = real(*arguments, **options)
        return model, EvaluatedModel(name, session, open_tokenizer(bundle), task, bundle)

    return build


def value(figures):
    (figure,) = figures
    return figure.score.value


def test_causal_by_hand(table_model, tiny):
    table = tiny.table(10) / 2
    table[0] = 0
    subject = table_model("text-generation", table)
    shares = log_softmax(table)
    # [CLS] stands before each window, [SEP] behind it is not asked for.
    before = np.array([2, 5, 6, 7, 8, 9, 2, 6, 7])
    (figure,) = language_model([subject], TEXT, resamples=50)
    assert figure.score.value == pytest.approx(np.exp(-shares[before, IDS].mean()), rel=1e-6)
    assert (figure.measure, figure.metric, figure.model) == ("text", "perplexity", ORIGINAL)
    assert (figure.count, figure.higher_is_better, figure.difference) == (2, False, None)
    # Windows are drawn: two of the first, one of each, two of the second.
    first, second = -shares[before, IDS][:6], -shares[before, IDS][6:]
    extremes = sorted([np.exp(first.mean()), np.exp(second.mean())])
    np.testing.assert_allclose([figure.score.low, figure.score.high], extremes, rtol=1e-6)


@pytest.mark.parametrize("exact", [False, True])
def test_masked_by_hand(table_model, tiny, exact):
    table = tiny.table(10)
    subject = table_model("fill-mask", table)
    (figure,) = language_model([subject], "red sea red red", exact=exact, resamples=50)
    found = -log_softmax(table[4])  # whatever stood there, the model sees a mask
    if exact:
        assert figure.metric == "pseudo-perplexity"
        assert figure.score.value == pytest.approx(np.exp((3 * found[5] + found[8]) / 4))
    else:
        assert figure.metric == "masked perplexity (15%)"
        assert min(abs(figure.score.value - np.exp(found[[5, 8]]))) < 1e-6


def test_a_seventh_of_the_tokens_is_masked_and_the_seed_says_which(table_model, tiny):
    subject = table_model("fill-mask", tiny.table(10), max_length=82)
    seen = []

    class Spy:
        def run(self, wanted, feeds):
            seen.append(feeds["input_ids"])
            return subject.session.raw.run(wanted, feeds)

    spied = replace(subject, session=replace(subject.session, raw=Spy()))
    for seed in (0, 0, 1):
        language_model([spied], "red green sea sky " * 60, seed=seed, resamples=10)
    masks = [ids == 4 for ids in seen]
    assert masks[0].shape == (3, 82)
    assert masks[0].sum(axis=1).tolist() == [12, 12, 12]
    assert (masks[0] == masks[1]).all()
    assert (masks[0] != masks[2]).any()
    assert (masks[0][0] != masks[0][1]).any()
    assert not masks[0][:, [0, 81]].any()  # special tokens stay


@pytest.mark.parametrize("exact", [False, True])
def test_masked_as_torch(subject, exact):
    model, tested = subject("BertForMaskedLM")
    got = value(language_model([tested], TEXT, exact=exact, seed=3, resamples=10))
    seen = []

    class Spy:
        def run(self, wanted, feeds):
            seen.append((feeds["input_ids"], feeds["attention_mask"]))
            return tested.session.raw.run(wanted, feeds)

    spied = replace(tested, session=replace(tested.session, raw=Spy()))
    assert value(language_model([spied], TEXT, exact=exact, seed=3, resamples=10)) == got
    whole = np.array([[2, *IDS[:6], 3], [2, *IDS[6:], 3, 0, 0, 0]])
    total = count = 0
    for ids, mask in seen:
        for row, kept in zip(ids, mask, strict=True):
            original = whole[0] if kept.sum() == 8 else whole[1]
            original = original[: len(row)]
            labels = np.where(row == 4, original, -100)
            assert (row[row != 4] == original[row != 4]).all()
            with torch.no_grad():
                loss = model(
                    input_ids=torch.from_numpy(row[None]),
                    attention_mask=torch.from_numpy(kept[None]),
                    labels=torch.from_numpy(labels[None]),
                ).loss
            total += float(loss) * (row == 4).sum()
            count += (row == 4).sum()
    assert count == (9 if exact else 2)
    assert got == pytest.approx(np.exp(total / count), rel=1e-5)
    assert not 9.5 < got < 10.5  # a model that knows nothing gives 10


def causal_loss(model):
    """The loss of both windows, [SEP] not counted, by torch."""
    total = 0.0
    for ids in ([2, *IDS[:6]], [2, *IDS[6:]]):
        row = torch.tensor([ids])
        with torch.no_grad():
            total += float(model(input_ids=row, labels=row).loss) * (len(ids) - 1)
    return total / len(IDS)


@pytest.mark.parametrize("architecture", ["GPT2LMHeadModel", "LlamaForCausalLM"])
def test_causal_as_torch(subject, architecture):
    model, tested = subject(architecture)
    got = value(language_model([tested], TEXT, resamples=10))
    assert got == pytest.approx(np.exp(causal_loss(model)), rel=1e-5)
    assert not 9.5 < got < 10.5


@pytest.mark.skipif(not has_optimum(), reason="needs optimum")
@pytest.mark.parametrize("with_past", [False, True])
def test_graphs_of_optimum(subject, with_past):
    model, tested = subject("LlamaForCausalLM", "optimum", with_past=with_past)
    names = [info.name for info in tested.session.inputs]
    assert any(name.startswith("past") for name in names) == with_past
    assert "position_ids" in names
    got = value(language_model([tested], TEXT, resamples=10))
    assert got == pytest.approx(np.exp(causal_loss(model)), rel=1e-5)


def test_without_a_special_token_ahead_the_first_one_is_not_asked_for(table_model, tiny):
    table = tiny.table(10) / 2
    subject = table_model("text-generation", table)
    path = subject.folder / "tokenizer.json"
    library = Tokenizer.from_file(str(path))
    library.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B")
    library.save(str(path))
    subject = replace(subject, tokenizer=open_tokenizer(subject.folder))
    shares = log_softmax(table)
    assert value(language_model([subject], "red sea red", resamples=10)) == pytest.approx(
        np.exp(-shares[[5, 8], [8, 5]].mean()), rel=1e-6
    )
    # A window of one token says nothing.
    alone = language_model([subject], "red sea red sea red sea red sea red", resamples=10)
    assert alone[0].count == 1
    with pytest.raises(InputError, match="no token after its first"):
        language_model([subject], "red")


def test_models_side_by_side(table_model, tiny):
    table = tiny.table(10) / 2
    models = [
        table_model("text-generation", table),
        table_model("text-generation", table, "same"),
        table_model("text-generation", table * 0, "flat"),
    ]
    seen = []
    figures = language_model(models, TEXT, resamples=99, progress=lambda *a: seen.append(a))
    original, same, flat = (figure for figure in figures if figure.metric == "perplexity")
    assert original.difference is None
    assert (same.difference.value, same.difference.low, same.difference.high) == (0, 0, 0)
    assert flat.score.value == pytest.approx(10)
    assert flat.difference.value == pytest.approx(10 - original.score.value)
    assert seen[-1] == (1.0, "reading the text")


def test_limit(table_model, tiny):
    subject = table_model("text-generation", tiny.table(10) / 2)
    limited = language_model([subject], TEXT, limit_tokens=4, resamples=10)
    assert value(limited) == value(language_model([subject], "red green blue sea", resamples=10))


def test_batches_do_not_change_the_figures(table_model, tiny, monkeypatch):
    subject = table_model("text-generation", tiny.table(10) / 2)
    whole = language_model([subject], TEXT * 5, resamples=10)
    monkeypatch.setattr("runtime.evaluate.metrics.predictions._BATCH_BYTES", 1)
    assert language_model([subject], TEXT * 5, resamples=10) == whole


def test_blocks_of_rows(monkeypatch):
    rng = np.random.default_rng(0)
    logits = (rng.normal(size=(7, 50)) * 1000).astype(np.float32)
    target = rng.integers(50, size=7)
    wanted = torch.nn.functional.cross_entropy(
        torch.from_numpy(logits).double(), torch.from_numpy(target), reduction="none"
    )
    np.testing.assert_allclose(losses(logits, target), wanted, rtol=1e-12)
    monkeypatch.setattr(distributions, "_BLOCK_BYTES", 8 * 50 * 2)
    assert [len(logits[some]) for some in distributions.blocks(logits)] == [2, 2, 2, 1]
    np.testing.assert_allclose(losses(logits, target), wanted, rtol=1e-12)


def test_models_that_are_no_language_models(table_model, tiny):
    masked = table_model("fill-mask", tiny.table(10))
    vectors = table_model("feature-extraction", tiny.table(10), "vectors")
    with pytest.raises(InputError, match=r"original is a fill-mask model; .* text-generation"):
        language_model([masked, table_model("text-generation", tiny.table(10), "b")][::-1], TEXT)
    with pytest.raises(InputError, match=r"vectors is a feature-extraction model; .* fill-mask"):
        language_model([masked, vectors], TEXT)
    with pytest.raises(InputError, match="fill-mask or text-generation"):
        language_model([vectors], TEXT)


def test_names_must_differ(table_model, tiny):
    subject = table_model("fill-mask", tiny.table(10))
    with pytest.raises(InputError, match="original, original have one name"):
        language_model([subject, subject], TEXT)


def test_no_mask_token(table_model, tiny):
    subject = table_model("fill-mask", tiny.table(10))
    subject = replace(subject, tokenizer=replace(subject.tokenizer, mask_token=None))
    with pytest.raises(InputError, match="no mask token"):
        language_model([subject], TEXT)


def test_length_and_batch_that_a_graph_fixes(tmp_path, table_model, tiny):
    table = tiny.table(10) / 2
    subject = table_model("text-generation", table)
    path = tiny.model(
        tmp_path / "fixed.onnx", tiny.graphs["fill-mask"].replace("b,s", "2,6"), table
    )
    fixed = replace(subject, session=open_session(path))
    text = f"{TEXT} sky red"  # windows of 4 tokens, three of them, in batches of two
    wanted = language_model(
        [replace(subject, tokenizer=replace(subject.tokenizer, max_length=6))], text, resamples=10
    )
    assert wanted[0].count == 3
    assert language_model([fixed], text, resamples=10) == wanted

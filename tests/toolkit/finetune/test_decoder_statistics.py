import numpy as np
import pytest
import torch

from toolkit.errors import InputError
from toolkit.finetune.decoder_statistics import (
    DecoderStatistics,
    _Moments,
    measure_decoder,
    measure_own_text,
)
from toolkit.finetune.own_text import TextConfig, own_openings, own_text

TEXT = TextConfig(texts=6, length=12, openings=40)
ARCHITECTURES = ("LlamaForCausalLM", "GPT2LMHeadModel", "Gemma3ForCausalLM")


@pytest.fixture(scope="module", params=ARCHITECTURES)
def decoder(request, tiny_model):
    return tiny_model(request.param)


def by_hand(model, texts, given=1):
    """The same figures, a text at a time, with rows put in by the model's own argument."""
    table = model.get_input_embeddings()
    factor = float(getattr(table, "embed_scale", 1.0))
    shares, hidden, looked_up = [], [], []
    for text in texts:
        rows = (table.weight[text[None]] * factor).detach().requires_grad_(True)
        found = model(inputs_embeds=rows, output_hidden_states=True)
        log_shares = found.logits[0, given - 1 : -1].log_softmax(-1)
        log_shares.gather(1, text[given:, None]).sum().backward()
        shares.append(log_shares.exp().detach())
        states = found.hidden_states[-1][0, given - 1 : -1].detach().double()
        unsure = 1 - (shares[-1].double() ** 2).sum(-1, keepdim=True)
        hidden.append((unsure * states).T @ states / len(states))
        pulls = rows.grad[0, 1:].double() * factor
        looked_up.append(pulls.T @ pulls / len(pulls))
    return torch.cat(shares).mean(0).double(), alike(hidden), alike(looked_up)


def alike(moments):
    """Their mean, each brought to the median of their traces."""
    traces = np.array([float(moment.trace()) for moment in moments])
    scaled = [moment / trace for moment, trace in zip(moments, traces, strict=True)]
    return np.median(traces) * torch.stack(scaled).mean(0)


@pytest.mark.parametrize("given", [1, 2])
def test_figures_are_those_of_each_text_alone(decoder, given):
    texts = own_text(decoder, 1, TEXT)
    found = measure_decoder(decoder, texts, given=given)
    shares, hidden, looked_up = by_hand(decoder, texts, given)
    assert np.allclose(found.probabilities, shares, atol=1e-7)
    assert np.allclose(found.hidden, hidden, rtol=1e-3, atol=1e-4)
    assert np.allclose(found.looked_up, looked_up, rtol=1e-3, atol=1e-6)
    assert found.tokens == 6 * (12 - given)
    assert found.starts == (1,)


def test_a_text_of_large_states_does_not_decide_alone():
    """The metric of a set of texts and one of huge states is near the metric without it."""
    moments = _Moments()
    ordinary, huge = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]), torch.tensor([[[0.0, 1000.0]]])
    for states in (ordinary, huge, torch.zeros(1, 1, 2)):
        moments.add(states, states)
    assert np.allclose(moments.mean(), np.diag([1, 2]) / 4)  # the median trace is 1, of 4 tokens


def test_a_model_that_is_sure_of_everything_still_has_a_metric(tiny_model):
    model = tiny_model("LlamaForCausalLM")
    weights = model.lm_head.weight.data.clone()
    try:
        model.lm_head.weight.data *= 1e4
        found = measure_decoder(model, own_text(model, 1, TEXT))
    finally:
        model.lm_head.weight.data.copy_(weights)
    assert np.trace(found.hidden) > 0
    assert np.linalg.eigvalsh(found.metric(head=True)).min() > 0


def test_openings_begin_with_any_token_and_go_on_as_the_model_does(decoder):
    rows = decoder.get_input_embeddings().weight.shape[0]
    config = TextConfig(openings=rows, opening=5)
    found = own_openings(decoder, 1, config, forbidden=[2, 3])
    assert found.shape == (rows - 3, 5)
    assert set(found[:, 0].tolist()) == {1}
    assert sorted(found[:, 1].tolist()) == [id_ for id_ in range(rows) if id_ not in (1, 2, 3)]
    assert not set(found[:, 2:].unique().tolist()) & {2, 3}
    assert torch.equal(found, own_openings(decoder, 1, config, forbidden=[2, 3]))
    with torch.no_grad():
        logits = decoder(input_ids=found[:, :4], use_cache=False).logits
    logits[..., [2, 3]] = -torch.inf
    drawn = logits[:, 1:].log_softmax(-1).gather(2, found[:, 2:, None])
    assert (drawn > -25).all()


def test_openings_are_a_fifth_of_what_is_measured(decoder):
    found = measure_own_text(decoder, 1, TEXT)
    long = measure_decoder(decoder, own_text(decoder, 1, TEXT))
    openings = measure_decoder(decoder, own_openings(decoder, 1, TEXT), given=2)
    for name in ("probabilities", "hidden", "looked_up"):
        wanted = 0.8 * getattr(long, name) + 0.2 * getattr(openings, name)
        assert np.allclose(getattr(found, name), wanted)
    assert found.tokens == long.tokens + openings.tokens == 6 * 11 + 40 * 5
    assert np.array_equal(found.texts, long.texts)
    assert found.own


def test_text_is_drawn_from_the_models_own_distribution(decoder):
    """Frequencies of second tokens are the probabilities after the first."""
    config = TextConfig(texts=4000, length=2)
    drawn = own_text(decoder, 1, config)[:, 1]
    with torch.no_grad():
        shares = decoder(input_ids=torch.tensor([[1]])).logits[0, 0].softmax(-1)
    counts = torch.bincount(drawn, minlength=len(shares)) / 4000
    noise = (shares * (1 - shares) / 4000).sqrt()
    assert ((counts - shares).abs() < 5 * noise + 1e-3).all()


def test_later_tokens_are_drawn_given_all_before(decoder):
    """The cache carries the text: with it the model thinks what it thinks without."""
    texts = own_text(decoder, 1, TEXT)
    again = own_text(decoder, 1, TextConfig(texts=6, length=11))
    assert torch.equal(texts[:, :11], again)
    last = texts[:, -1:]
    generator = torch.Generator().manual_seed(TEXT.seed)
    rows = decoder.get_input_embeddings().weight.shape[0]
    for _ in range(10):  # the draws before the last one
        torch.multinomial(torch.ones(6, rows), 1, generator=generator)
    with torch.no_grad():
        logits = decoder(input_ids=texts[:, :-1], use_cache=False).logits[:, -1]
    assert torch.equal(torch.multinomial(logits.softmax(-1), 1, generator=generator), last)


def test_equal_seeds_give_equal_texts(decoder):
    assert torch.equal(own_text(decoder, 1, TEXT), own_text(decoder, 1, TEXT))
    other = TextConfig(texts=6, length=12, seed=1)
    assert not torch.equal(own_text(decoder, 1, TEXT), own_text(decoder, 1, other))


def test_forbidden_tokens_are_never_drawn(decoder):
    rows = decoder.get_input_embeddings().weight.shape[0]
    allowed = [5, 6, 7]
    forbidden = [id_ for id_ in range(rows) if id_ not in allowed]
    drawn = own_text(decoder, 1, TEXT, forbidden=forbidden)[:, 1:]
    assert set(drawn.unique().tolist()) <= set(allowed)


def test_progress_ends_at_one(tiny_model):
    told = []
    measure_own_text(
        tiny_model("LlamaForCausalLM"), 1, TEXT, progress=lambda share, what: told.append(share)
    )
    assert told == sorted(told)
    assert told[-1] == 1.0


def statistics(probabilities, starts=()):
    width = 4
    hidden, looked_up = np.diag([4.0, 0, 0, 0]), np.diag([0, 8.0, 0, 0])
    assert hidden.shape == (width, width)
    return DecoderStatistics(np.array(probabilities), hidden, looked_up, 1000, starts)


def test_every_row_has_some_importance():
    found = statistics([0.9, 0.1, 0.0, 0.0]).importance()
    assert found.sum() == pytest.approx(1)
    assert found[0] > found[1] > found[2] == found[3] == pytest.approx(0.1 / 4)


def test_special_tokens_count_though_no_text_holds_them():
    probabilities = np.zeros(100_000)
    probabilities[5] = 1.0
    found = statistics(probabilities, starts=(1,)).importance([7, 200_000])
    assert found[1] == found[7] == pytest.approx(1e-3, rel=0.01)
    assert found[8] < 2e-6


def test_a_metric_is_of_what_the_table_is_for():
    found = statistics([1.0])
    assert np.diag(found.metric(head=False)) == pytest.approx([0.4, 8.4, 0.4, 0.4])
    assert np.diag(found.metric(head=True)) == pytest.approx([4.6, 8.6, 0.6, 0.6])
    assert np.diag(found.metric(head=True, lookup=False)) == pytest.approx([4.2, 0.2, 0.2, 0.2])


def test_directions_count_alike_where_few_tokens_tell():
    hidden = np.diag([4.0, 0, 0, 0])
    for tokens, share in ((0, 0.2), (8, 1.0), (4, 4.0), (1, 4.0), (16, 0.25), (40, 0.2)):
        found = DecoderStatistics(np.ones(1), hidden, hidden, tokens).metric(
            head=True, lookup=False
        )
        assert np.diag(found) == pytest.approx([4 + share, share, share, share])


def test_too_little_text_and_no_head_are_refused(tiny_model):
    with pytest.raises(InputError, match=r"texts of shape \[2, 1\]"):
        measure_decoder(tiny_model("LlamaForCausalLM"), torch.ones(2, 1, dtype=torch.int64))
    with pytest.raises(InputError, match="no output head"):
        measure_decoder(tiny_model("BertModel"), torch.ones(2, 5, dtype=torch.int64))


def test_rows_matter_for_what_they_are_read_for():
    """A head's by what is predicted; a table's that is looked up by what comes in."""
    probabilities = np.array([0.0, 0.5, 0.3, 0.2, 0.0])
    texts = np.array([[0, 1, 1, 4], [0, 1, 4, 4]])
    eye = np.eye(3)
    theirs = DecoderStatistics(probabilities, eye, 2 * eye, starts=(0,), texts=texts)
    head = theirs.importance([3], lookup=False)
    assert np.allclose(head, 0.9 * probabilities + 0.1 / 5)  # no word on starts and frames
    table = theirs.importance([3], head=False)
    counts = np.array([0, 3, 0, 0, 3]) / 6  # the first token of a text is given
    wanted = 0.9 * (counts + probabilities) / 2 + 0.1 / 5
    assert np.allclose(table, wanted / wanted.sum())
    own = DecoderStatistics(probabilities, eye, 2 * eye, starts=(0,), texts=texts, own=True)
    assert np.allclose(own.importance(head=False), own.importance())  # counts are chance
    assert np.allclose(own.metric(head=True, lookup=False), 1.2 * eye)
    assert np.allclose(own.metric(head=False), 2.4 * eye)


def test_a_head_may_be_wider_than_the_table(tiny_model):
    """Of a model that projects between them."""
    from torch import nn

    model = tiny_model("LlamaForCausalLM")
    inner, head = model.lm_head, nn.Sequential(nn.Linear(32, 40), nn.Linear(40, 300))
    model.lm_head = head
    model.get_output_embeddings = lambda: head[1]
    found = measure_decoder(model, own_text(model, 1, TEXT))
    assert (found.hidden.shape, found.looked_up.shape) == ((40, 40), (32, 32))
    model.lm_head = inner

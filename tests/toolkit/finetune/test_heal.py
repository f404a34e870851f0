import copy
import dataclasses
import random

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertModel, T5Config, T5EncoderModel

from toolkit import Budget, compress
from toolkit.errors import InputError
from toolkit.finetune import attach
from toolkit.finetune.batches import hidden_states, make_batches
from toolkit.finetune.distil import DistilConfig, distance, distil, held_out_distance
from toolkit.finetune.heal import HealConfig, heal
from toolkit.finetune.metric import row_metric, square_root
from toolkit.finetune.recode import recode

ROWS, WIDTH = 600, 32
SHORT = HealConfig(DistilConfig(steps=15, check_every=5), rounds=2, batch=16, metric_tokens=64)


@pytest.fixture(scope="module")
def model():
    return bert(BertModel)


def bert(kind):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=ROWS,
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        initializer_range=0.2,
    )
    return kind(config).eval()


@pytest.fixture(scope="module")
def texts():
    draw = random.Random(0)
    return [
        [1, *(min(int(np.exp(draw.uniform(0, 6.3))) + 3, ROWS - 1) for _ in range(length)), 2]
        for length in (draw.randint(4, 16) for _ in range(400))
    ]


def table_of(model):
    return model.get_input_embeddings().weight.detach().numpy().copy()


def packed_of(model, ratio=10.0, method="lighttoken"):
    return compress(table_of(model), Budget(ratio=ratio), method=method)


# batches


def test_batches_hold_each_text_once_and_mask_what_is_padding(texts):
    batches = make_batches(texts, 16, pad_id=0, seed=3)
    rows = [
        tuple(ids[mask.bool()].tolist())
        for batch in batches
        for ids, mask in zip(batch.ids, batch.mask, strict=True)
    ]
    assert sorted(rows) == sorted(map(tuple, texts))
    assert all(int(batch.ids[batch.mask == 0].sum()) == 0 for batch in batches)


def test_batches_are_shuffled_by_the_seed_alone(texts):
    def first(seed):
        return make_batches(texts, 16, 0, seed=seed)[0].ids.tolist()

    assert first(1) == first(1)
    assert first(1) != first(2)


@pytest.mark.parametrize("bad", [[], [[1], []]])
def test_no_text_is_refused(bad):
    with pytest.raises(InputError, match="without tokens"):
        make_batches(bad, 4, 0)


def test_model_without_hidden_states_is_refused():
    with pytest.raises(InputError, match="no hidden states"):
        hidden_states(object())


# metric


def test_metric_is_that_of_a_linear_model():
    """Hidden states = rows A: the metric is A A', mixed with a tenth of the identity."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(WIDTH, WIDTH, generator=generator)

    class Linear(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.table = torch.nn.Embedding(ROWS, WIDTH)

        def forward(self, input_ids, attention_mask, output_hidden_states):
            class Outputs:
                hidden_states = (self.table(input_ids) @ mixing,)

            return Outputs

    linear = Linear()
    many = [[random.Random(i).randrange(ROWS) for _ in range(50)] for i in range(400)]
    found = row_metric(linear, linear.table, make_batches(many, 32, 0), generator)
    exact = mixing @ mixing.T
    exact = 0.9 * exact * WIDTH / exact.trace() + 0.1 * torch.eye(WIDTH)
    assert float(found.trace()) == pytest.approx(WIDTH, rel=1e-4)
    assert float((found - exact).norm() / exact.norm()) < 0.1


def test_metric_predicts_what_an_error_does(model, texts):
    """Errors along its strongest directions move the states more than along its weakest."""
    layer = model.get_input_embeddings()
    batches = make_batches(texts, 16, 0)
    metric = row_metric(model, layer, batches, torch.Generator().manual_seed(0))
    vectors = torch.linalg.eigh(metric)[1]

    def moved(directions):
        other = copy.deepcopy(model)
        noise = torch.randn(ROWS, directions.shape[1]) @ directions.T
        other.get_input_embeddings().weight.data += 0.01 * noise
        return held_out_distance(other, model, batches)

    assert moved(vectors[:, -8:]) > 2 * moved(vectors[:, :8])


def test_metric_leaves_no_hook_behind(model, texts):
    layer = model.get_input_embeddings()
    row_metric(model, layer, make_batches(texts, 16, 0)[:1], torch.Generator())
    assert not layer._forward_hooks


def test_square_root_squares_to_the_metric():
    half = torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(0))
    metric = half @ half.T
    root = square_root(metric)
    torch.testing.assert_close(root @ root, metric, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(root, root.T)


# recode


@pytest.mark.parametrize("method", ["lighttoken", "lighttoken-paper"])
@pytest.mark.parametrize("ratio", [6.0, 12.0])
def test_new_codes_lower_the_error_in_the_metric_in_as_many_bytes(method, ratio):
    generator = np.random.default_rng(0)
    table = generator.normal(size=(ROWS, WIDTH)).astype(np.float32)
    packed = compress(table, Budget(ratio=ratio), method=method)
    stretch = np.exp(generator.normal(size=WIDTH)).astype(np.float32)
    root = torch.from_numpy(np.diag(stretch))
    found = recode(packed, table, root, torch.ones(ROWS))

    def error(of):
        return float((((of.dense() - table) @ root.numpy()) ** 2).sum())

    assert found.nbytes == packed.nbytes
    assert error(found) < 0.95 * error(packed)


def test_low_rank_alone_has_nothing_to_code():
    table = np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(np.float32)
    packed = compress(table, Budget(ratio=10), method="svd")
    assert recode(packed, table, torch.eye(WIDTH), torch.ones(ROWS)) is packed


def test_stored_lengths_and_tiers_keep_their_meaning():
    generator = np.random.default_rng(0)
    lengths = np.exp(1.5 * generator.normal(size=(ROWS, 1)))
    table = (lengths * generator.normal(size=(ROWS, WIDTH))).astype(np.float32)
    packed = compress(table, Budget(ratio=7))
    assert packed.gain is not None
    found = recode(packed, table, torch.eye(WIDTH), torch.ones(ROWS))
    relative = ((found.dense() - table) ** 2).sum(1) / (table**2).sum(1)
    before = ((packed.dense() - table) ** 2).sum(1) / (table**2).sum(1)
    assert relative.mean() <= 1.02 * before.mean()


# distil


def test_distance_of_a_model_to_itself_is_nothing(model, texts):
    batches = make_batches(texts, 16, 0)
    assert held_out_distance(model, model, batches) == pytest.approx(0, abs=1e-6)


def test_distance_counts_the_head_too(texts):
    model = bert(BertForMaskedLM)
    other = copy.deepcopy(model)
    other.cls.predictions.bias.data += torch.randn(ROWS)
    batches = make_batches(texts, 16, 0)
    assert held_out_distance(other, model, batches) > 0.01


def test_distance_is_that_of_real_tokens(model, texts):
    """More padding changes nothing."""
    other = bert(BertModel)
    other.get_input_embeddings().weight.data *= 1.1
    (batch,) = make_batches(texts[:8], 8, 0)
    (padded,) = make_batches([*texts[:8], [5] * 40], 9, 0)

    def measured(b, count):
        outputs = [m(**b.inputs, output_hidden_states=True) for m in (other, model)]
        for out in outputs:
            out.hidden_states = (out.hidden_states[-1][:count],)
        return float(distance(*outputs, b.mask[:count]).detach())

    order = [len(text) for text in texts[:8]]
    assert sorted(order) == sorted(batch.mask.sum(1).tolist())
    assert measured(padded, 8) == pytest.approx(measured(batch, 8), rel=1e-3)


def test_training_goes_on_where_it_was_broken_off(model, texts, tmp_path):
    packed = packed_of(model)
    batches = make_batches(texts[:64], 16, 0)
    config = DistilConfig(steps=20, check_every=5, patience=9)

    def trained(state, stop=None):
        student = copy.deepcopy(model).requires_grad_(False)
        layer = attach(student, packed)

        def on_step(step):
            if step == stop:
                raise KeyboardInterrupt

        result = distil(
            student,
            layer,
            model,
            lambda epoch: make_batches(texts, 16, 0, seed=epoch),
            batches,
            config,
            state=state,
            on_step=on_step,
        )
        return result.layer.dense()

    whole = trained(None)
    state = tmp_path / "state.pt"
    with pytest.raises(KeyboardInterrupt):
        trained(state, stop=12)
    assert state.is_file()
    torch.testing.assert_close(trained(state), whole)


def test_training_ends_where_held_out_text_gains_no_more(model, texts):
    student = copy.deepcopy(model).requires_grad_(False)
    layer = attach(student, packed_of(model))
    config = DistilConfig(steps=400, learning_rate=10.0, check_every=2, patience=2)
    held = make_batches(texts[:64], 16, 0)
    before = held_out_distance(student, model, held)
    done = distil(
        student, layer, model, lambda epoch: make_batches(texts, 16, 0, seed=epoch), held, config
    )
    assert done.steps < 400
    assert held_out_distance(student, model, held) <= before


# heal


@pytest.mark.parametrize("method", ["lighttoken", "lighttoken-paper", "direction", "svd"])
def test_healed_table_is_closer_in_as_many_bytes(model, texts, method):
    packed = packed_of(model, method=method)
    healed, gained = heal(model, packed, texts, config=SHORT)
    assert healed.nbytes == packed.nbytes
    assert gained.after < 0.97 * gained.before
    assert gained.after <= gained.recoded <= gained.before
    other = copy.deepcopy(model)
    other.get_input_embeddings().weight.data.copy_(torch.from_numpy(healed.dense()))
    unseen = make_batches([[1, *text[1:-1][::-1], 2] for text in texts], 16, 0)
    old = copy.deepcopy(model)
    old.get_input_embeddings().weight.data.copy_(torch.from_numpy(packed.dense()))
    assert held_out_distance(other, model, unseen) < held_out_distance(old, model, unseen)


def test_tied_head_is_healed_too(texts):
    model = bert(BertForMaskedLM)
    _, gained = heal(model, packed_of(model), texts, config=SHORT)
    assert gained.after < gained.before


def test_model_stays_as_it_was(model, texts):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    heal(model, packed_of(model), texts, config=SHORT)
    assert model.training
    model.eval()
    assert all(value.requires_grad for value in model.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_equal_seeds_give_equal_tables(model, texts):
    packed = packed_of(model)
    first, second = (heal(model, packed, texts, config=SHORT)[0] for _ in range(2))
    assert first.to_bytes() == second.to_bytes()


def test_healing_goes_on_where_it_was_broken_off(model, texts, tmp_path):
    packed = packed_of(model)
    state = tmp_path / "state"
    whole, _ = heal(model, packed, texts, config=SHORT)

    def broken(share, what):
        if share > 0.8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        heal(model, packed, texts, config=SHORT, state=state, progress=broken)
    assert {path.name for path in state.iterdir()} >= {"round-0.lt", "round-1.lt"}
    again, gained = heal(model, packed, texts, config=SHORT, state=state)
    assert again.to_bytes() == whole.to_bytes()
    assert gained.steps < SHORT.rounds * SHORT.distil.steps


@pytest.mark.parametrize(("train", "some"), [("norms", 1), ("body", 2)])
def test_the_model_is_trained_too_where_that_is_asked_for(model, texts, train, some, tmp_path):
    packed = packed_of(model, ratio=25)
    config = dataclasses.replace(SHORT, train=train)
    healed, gained = heal(model, packed, texts, config=config)
    alone = heal(model, packed, texts, config=SHORT)[1]
    assert not alone.parameters
    assert gained.after < alone.after
    assert healed.nbytes == packed.nbytes
    assert max(values.dim() for values in gained.parameters.values()) == some
    assert not any("word_embeddings" in name for name in gained.parameters)
    # What it says is what a model with that table and those parameters does.
    other = copy.deepcopy(model)
    with torch.no_grad():
        for name, values in gained.parameters.items():
            other.get_parameter(name).copy_(values)
        other.get_input_embeddings().weight.copy_(torch.from_numpy(healed.dense()))
    unseen = make_batches([[1, *text[1:-1][::-1], 2] for text in texts], 16, 0)
    bare = copy.deepcopy(model)
    bare.get_input_embeddings().weight.data.copy_(torch.from_numpy(healed.dense()))
    assert held_out_distance(other, model, unseen) < held_out_distance(bare, model, unseen)

    def broken(share, what):
        if share > 0.8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        heal(model, packed, texts, config=config, state=tmp_path / "state", progress=broken)
    again, resumed = heal(model, packed, texts, config=config, state=tmp_path / "state")
    assert again.to_bytes() == healed.to_bytes()
    for name, values in gained.parameters.items():
        assert torch.equal(resumed.parameters[name], values), name


def test_the_model_s_own_training_leaves_a_tied_head_tied(texts):
    model = bert(BertForMaskedLM)
    config = dataclasses.replace(SHORT, train="body")
    _, gained = heal(model, packed_of(model), texts, config=config)
    own = dict(model.named_parameters())
    assert gained.parameters.keys() == own.keys() - {"bert.embeddings.word_embeddings.weight"}
    assert gained.after < gained.before


def test_unknown_parts_of_a_model_are_refused():
    with pytest.raises(InputError, match="table, norms, body"):
        HealConfig(train="head")


def test_state_is_gone_at_the_end(model, texts, tmp_path):
    heal(model, packed_of(model), texts, config=SHORT, state=tmp_path / "state")
    assert not list(tmp_path.iterdir())


def test_too_few_texts_are_refused(model, texts):
    with pytest.raises(InputError, match="10 different texts are too few"):
        heal(model, packed_of(model), texts[:10] * 30)


def test_encoders_of_other_families_are_healed(texts):
    torch.manual_seed(0)
    config = T5Config(vocab_size=ROWS, d_model=WIDTH, d_kv=16, d_ff=64, num_layers=1, num_heads=2)
    model = T5EncoderModel(config).eval()
    _, gained = heal(model, packed_of(model), texts, config=SHORT)
    assert gained.after < gained.before

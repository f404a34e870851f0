import numpy as np
import pytest
import torch

from toolkit import Budget, compress
from toolkit.errors import InputError
from toolkit.finetune import heal_decoder as module
from toolkit.finetune.heal_decoder import DecoderHealConfig, heal_decoder
from toolkit.finetune.own_text import TextConfig, own_text
from toolkit.finetune.training import Rates
from toolkit.rounding import round_to_nearest

FAST = Rates(0.01, 0.05, 0.005, 3e-3, 1e-3)  # a tiny model in few steps
SHORT = DecoderHealConfig(steps=12, batch=4, held_out=4, check_every=4)


@pytest.fixture(scope="module")
def decoder(tiny_model):
    return tiny_model("Gemma3ForCausalLM").float().eval()


@pytest.fixture(scope="module")
def packed(decoder):
    table = decoder.get_input_embeddings().weight.detach().numpy()
    return compress(table, Budget(ratio=6), method="svd")


@pytest.fixture(scope="module")
def texts(decoder):
    return own_text(decoder, 1, TextConfig(texts=24, length=16))


def linears(decoder):
    return {
        name: round_to_nearest(layer.weight.detach().numpy(), bits=2, group_size=16)
        for name, layer in decoder.named_modules()
        if name.endswith("_proj")
    }


@pytest.mark.parametrize("train", ["table", "norms", "body"])
def test_comes_nearer_to_the_original_in_as_many_bytes(decoder, packed, texts, train):
    before = {name: tensor.clone() for name, tensor in decoder.named_parameters()}
    rounded = linears(decoder)
    config = DecoderHealConfig(40, 8, 4, 10, rates=FAST, train=train)
    found = heal_decoder(decoder, packed, texts, rounded=rounded, config=config)
    assert found.after < 0.97 * found.before
    assert found.packed.nbytes == packed.nbytes
    assert all(torch.equal(before[name], now) for name, now in decoder.named_parameters())
    vectors = {name for name, tensor in before.items() if tensor.dim() == 1}
    assert set(found.parameters) == (set() if train == "table" else vectors)
    moved = any((found.rounded[at].scales != rounded[at].scales).any() for at in rounded)
    assert moved == (train == "body")


def test_weights_that_are_not_rounded_are_trained_as_floats(decoder, packed, texts):
    found = heal_decoder(
        decoder, packed, texts, config=DecoderHealConfig(12, 4, 4, 4, train="body")
    )
    assert any(name.endswith("_proj.weight") for name in found.parameters)
    assert not found.rounded


def test_a_run_that_was_broken_off_ends_as_a_whole_one(
    decoder, packed, texts, tmp_path, monkeypatch
):
    rounded = linears(decoder)

    def run(**more):
        config = DecoderHealConfig(12, 4, 4, 4, train="body")
        return heal_decoder(decoder, packed, texts, rounded=rounded, config=config, **more)

    whole = run()
    state = tmp_path / "state"

    def stop(share, what):
        if what == "healing the decoder" and share > 0.7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(state=state, progress=stop)
    assert (state / "training.pt").is_file()
    steps = []
    monkeypatch.setattr(
        module,
        "_batch",
        lambda *args, batch=module._batch: (steps.append(args[-1]), batch(*args))[1],
    )
    resumed = run(state=state)
    assert steps == [8, 9, 10, 11]
    assert resumed.packed.to_bytes() == whole.packed.to_bytes()
    assert resumed.after == whole.after
    assert all(
        np.array_equal(resumed.rounded[name].codes, whole.rounded[name].codes) for name in rounded
    )
    assert not state.exists()


def test_each_epoch_reads_every_text_that_is_not_held_out():
    seen = torch.cat([module._batch(20, SHORT, step) for step in range(4)])
    assert sorted(seen.tolist()) == list(range(4, 20))
    assert not torch.equal(
        seen, torch.cat([module._batch(20, SHORT, step) for step in range(4, 8)])
    )


def test_too_few_texts_are_refused(decoder, packed, texts):
    with pytest.raises(InputError, match="7 texts are too few to heal with; give 8 or more"):
        heal_decoder(decoder, packed, texts[:7], config=SHORT)


def test_another_word_for_what_is_trained_is_refused():
    with pytest.raises(InputError, match="train 'all' is unknown"):
        DecoderHealConfig(train="all")


def test_a_head_that_stays_dense_is_neither_packed_nor_trained(decoder, packed, texts):
    """The table is then healed as it is looked up alone, which it may be further."""
    both = heal_decoder(
        decoder, packed, texts, config=DecoderHealConfig(4, 4, 4, 4, rates=FAST, train="body")
    )
    config = DecoderHealConfig(12, 4, 4, 4, rates=FAST, train="norms")
    alone = heal_decoder(decoder, packed, texts, heads=False, config=config)
    assert alone.before < both.before
    assert alone.after < alone.before
    assert any("q_proj" in name for name in both.parameters)
    assert not any("lm_head" in name for name in both.parameters)
    head = decoder.get_output_embeddings().weight
    assert head is decoder.get_input_embeddings().weight

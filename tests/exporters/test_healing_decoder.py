"""Decoders are healed on text of their own, their weights of few bits with the table."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from exporters import ExportOptions, export, healing_decoder
from toolkit import Budget
from toolkit.errors import InputError
from toolkit.finetune.heal_decoder import DecoderHealConfig

ROWS = 400
OWN = Path("own")


@pytest.fixture
def decoder(tiny_model, tmp_path, monkeypatch):
    """A folder with a decoder whose text is short, and a tokenizer of words w2, w3 …"""
    folder = tmp_path / "model"
    tiny_model(
        "LlamaForCausalLM",
        vocab_size=ROWS,
        bos_token_id=0,
        eos_token_id=1,
        tie_word_embeddings=True,
    ).save_pretrained(folder)
    words = ["<bos>", "<eos>", *(f"w{index}" for index in range(2, ROWS))]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, "<eos>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    monkeypatch.setattr(healing_decoder, "_TEXTS", 24)
    monkeypatch.setattr(healing_decoder, "_LENGTH", 16)
    return folder


def options(**more):
    return ExportOptions(
        **({"heal_steps": 20, "weights": "int4", "group_size": 16, "with_past": True} | more)
    )


def products(bundle):
    model = ir.load(bundle / "model.onnx")
    return [node for node in model.graph.all_nodes() if node.op_type == "MatMulNBits"]


def test_weights_of_few_bits_come_into_the_graph_as_they_were_trained(
    decoder, tmp_path, monkeypatch
):
    kept = []
    heal = healing_decoder.heal_decoder

    def note(*args, **named):
        kept.append(heal(*args, **named))
        return kept[-1]

    monkeypatch.setattr("exporters.steps.heal.heal_decoder", note)
    out = tmp_path / "out"
    asked = options(heal=OWN, fuse=False)  # fused, several matrices are one
    manifest = export(str(decoder), out, Budget(ratio=4), options=asked)
    assert manifest.healed.trained == "body"
    assert manifest.healed.after < manifest.healed.before
    (found,) = kept
    wanted = sorted(weight.packed().tobytes() for weight in found.rounded)
    stored = sorted(node.inputs[1].const_value.numpy().tobytes() for node in products(out))
    assert stored == wanted
    assert "divergence" in (out / "README.md").read_text()


def test_a_text_of_the_users_is_read_in_pieces(decoder, tmp_path):
    rng = np.random.default_rng(0)
    text = tmp_path / "text.txt"
    lines = [" ".join(f"w{index}" for index in rng.integers(2, ROWS, 40)) for _ in range(20)]
    text.write_text("\n".join(lines))
    manifest = export(
        str(decoder),
        tmp_path / "out",
        Budget(ratio=4),
        options=options(heal=text, weights="fp32"),
    )
    assert manifest.healed.trained == "norms"
    assert manifest.healed.texts == 24 * 16 // 15


def test_a_text_that_is_too_short_is_refused(decoder, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("w3 w4")
    with pytest.raises(InputError, match="holds 2 tokens; give some thousand"):
        export(str(decoder), tmp_path / "out", Budget(ratio=4), options=options(heal=text))


def test_what_is_healed_has_a_state_of_its_own(decoder, tmp_path, monkeypatch):
    """Another seed, other steps: nothing of one run is gone on with in another."""
    states = []

    def note(*args, state, **named):
        states.append(state)
        raise InputError("enough")

    monkeypatch.setattr("toolkit.finetune.heal_decoder.heal_decoder", note)
    for more in ({}, {}, {"heal_steps": 21}, {"group_size": 32}, {"seed": 1}):
        with pytest.raises(InputError, match="enough"):
            export(
                str(decoder),
                tmp_path / "out",
                Budget(ratio=4),
                options=options(heal=OWN, **more),
            )
    assert states[0] == states[1]
    assert len(set(states)) == 4
    assert DecoderHealConfig().steps == ExportOptions().heal_steps

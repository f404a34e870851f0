"""Bundles of the real model, one a layout, and what our own pipeline makes of a few texts.

With ``-v`` the largest difference of each loader's values to our own stands behind the dots.
"""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

from exporters import ExportOptions, export
from runtime import open_pipeline
from toolkit import Budget, LightTokenConfig

TEXTS = [
    "A cat sleeps.",
    "Astronomers published an image of a very distant galaxy, ten billion light years away.",
    "Żółw, naïve café, 東京, 12,345.67 €",
    "word",
    " ".join(["A long text, longer than others in its batch, so that all those are padded."] * 6),
]

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
NAMES = [*SPECIAL, *(f"word{i}" for i in range(295))]


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return TEXTS


@pytest.fixture(scope="session", params=["flat", "transformers-js"])
def bundle(request, minilm_bundle):
    """The real model 25 times smaller: ``folder``, ``manifest``, and ``vectors`` of the texts."""
    return minilm_bundle(request.param)


@pytest.fixture(scope="session")
def minilm_bundle(minilm_folder, tmp_path_factory):
    """``minilm_bundle(layout)``: see ``bundle``; the second has pooling in its graph."""
    made = {}

    def make(layout):
        if layout not in made:
            folder = tmp_path_factory.mktemp("models") / "all-MiniLM-L6-v2"
            # Whether others load it does not hang on how good the codes are.
            options = ExportOptions(
                structure=layout,
                with_pooling=layout == "transformers-js",
                name="sentence-transformers/all-MiniLM-L6-v2",
                config=LightTokenConfig(rounds=1),
            )
            manifest = export(str(minilm_folder), folder, Budget(ratio=25), options=options)
            vectors = open_pipeline(folder)(TEXTS)
            made[layout] = SimpleNamespace(folder=folder, manifest=manifest, vectors=vectors)
        return made[layout]

    return make


@pytest.fixture(scope="session")
def save_tiny(tmp_path_factory):
    """``save_tiny(architecture, layout, **options)``: a bundle of a tiny random model."""
    made = {}

    def build(architecture, layout, **changes):
        key = (architecture, layout, *changes.items())
        if key not in made:
            made[key] = save(architecture, layout, changes)
        return made[key]

    def save(architecture, layout, changes):
        folder = tmp_path_factory.mktemp("tiny") / architecture
        kind = getattr(transformers, architecture)
        torch.manual_seed(0)
        sizes = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2}
        sizes |= {"num_attention_heads": 4, "intermediate_size": 48, "max_position_embeddings": 64}
        kind(kind.config_class(**sizes, bos_token_id=2, eos_token_id=3, pad_token_id=0)
             ).save_pretrained(folder)  # fmt: skip
        names = {name: i for i, name in enumerate(NAMES)}
        tokenizer = Tokenizer(models.WordPiece(names, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.add_special_tokens(SPECIAL)
        tokenizer.save(str(folder / "tokenizer.json"))
        described = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]"}
        described |= {"mask_token": "[MASK]", "unk_token": "[UNK]", "model_max_length": 64}
        described["model_input_names"] = ["input_ids", "attention_mask"]
        (folder / "tokenizer_config.json").write_text(json.dumps(described))
        out = folder.with_name("bundle")
        options = ExportOptions(structure=layout, config=LightTokenConfig(rounds=1), **changes)
        export(str(folder), out, Budget(ratio=6), options=options)
        return out

    return build


@pytest.fixture
def run_card(monkeypatch):
    """``run_card(folder, word)``: the card's Python program with ``word`` in it; its variables."""

    def run(folder, word):
        programs = fences(folder, "python")
        (program,) = [text for text in programs if word in text]
        monkeypatch.chdir(folder)
        scope = {}
        exec(compile(program, f"{folder}/README.md", "exec"), scope)
        return scope

    return run


@pytest.fixture
def card_programs():
    """``card_programs(folder, language)``: the card's programs in it."""
    return fences


def fences(folder, language):
    card = (folder / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", card, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def close(record_property):
    """``close(got, wanted, limit)``: asserts it, and reports the largest difference (``-v``)."""

    def check(got, wanted, limit=1e-5):
        assert np.shape(got) == np.shape(wanted)
        difference = float(np.abs(np.asarray(got) - np.asarray(wanted)).max())
        record_property("difference", difference)
        assert difference <= limit

    return check


def pytest_terminal_summary(terminalreporter, config):
    """The figures, where more than dots is asked for."""
    if config.get_verbosity() < 0:
        return
    for report in terminalreporter.getreports("passed"):
        figures = [value for name, value in report.user_properties if name == "difference"]
        if figures and report.when == "call":
            terminalreporter.line(
                f"{max(figures):8.2g}  {report.nodeid.removeprefix('tests/integration/loads/')}"
            )

"""The card says what was measured, and how to run the bundle."""

import ast
import re
from dataclasses import replace

import pytest
import yaml
from markdown_it import MarkdownIt

from exporters.bundle.card import model_card
from toolkit.bundle.manifest import Healed


def test_the_card_tells_the_figures(exported):
    card = (exported.bundle / "README.md").read_text()
    footprint, parity = exported.manifest.footprint, exported.manifest.parity
    assert "# tiny-encoder, token table " in card
    assert f"{footprint.ratio:.1f}x" in card
    assert f"(300 x 32) is held in {footprint.bits_per_parameter:.2f} bits a parameter" in card
    assert f"{footprint.model_bytes / 1e6:.2f} MB" in card
    assert f"{footprint.original_model_bytes / 1e6:.2f} MB" in card
    assert f"{parity.compression:.2g} against the original" in card


def test_the_card_starts_with_what_the_hub_reads(exported):
    lines = model_card(exported.manifest).splitlines()
    end = lines.index("---", 1)
    assert lines[0] == "---"
    assert "library_name: onnxruntime" in lines[1:end]
    assert "pipeline_tag: feature-extraction" in lines[1:end]


def test_the_hub_reads_which_model_it_was_made_from_and_under_which_licence(exported):
    manifest = exported.manifest
    hub = replace(manifest, source=replace(manifest.source, kind="hub", name="who/what"))
    head = yaml.safe_load(model_card(hub, licence="apache-2.0").split("---\n")[1])
    assert head == {
        "library_name": "onnxruntime",
        "pipeline_tag": "feature-extraction",
        "tags": ["onnx", "lighttoken", "edge"],
        "license": "apache-2.0",
        "base_model": "who/what",
        "base_model_relation": "quantized",
    }
    # A folder's name is no model of the hub.
    assert "base_model" not in model_card(manifest)


def test_no_placeholder_is_left(exported):
    card = model_card(exported.manifest)
    assert "{{" not in card
    for name in ("ratio", "python", "tied", "example", "task"):
        assert f"{{{name}}}" not in card


def test_the_card_says_what_the_table_was_made_from(exported):
    manifest = exported.manifest
    assert "without labels and without text." in model_card(manifest)
    healed = replace(manifest, healed=Healed(20_000, 0.0712, 0.0468, 250, "norms"))
    card = model_card(healed)
    assert "without text" not in card
    assert "On 20,000 plain texts the table and the model's LayerNorms and biases came" in card
    assert "fell from 0.0712 to 0.0468." in card
    assert "that was packed before." in model_card(replace(manifest, method="given"))


@pytest.mark.parametrize(
    ("task", "shown"),
    [
        ("feature-extraction", True),
        ("fill-mask", True),
        ("text-classification", True),
        ("text-ranking", True),
        ("token-classification", True),
        ("multiple-choice", True),
        ("text-generation", False),
    ],
)
def test_a_pipeline_is_shown_where_there_is_one(exported, task, shown):
    card = model_card(replace(exported.manifest, task=task))
    assert ("open_pipeline" in card) == shown


@pytest.mark.parametrize("tied", [False, True])
def test_a_head_in_float_is_admitted(exported, tied):
    card = model_card(replace(exported.manifest, tied_head=tied))
    assert ("The output head shares the table and keeps it in float32" in card) == tied


def test_the_python_example_runs(exported, monkeypatch):
    """The fence that loads the model with plain onnxruntime, as a reader would paste it."""
    monkeypatch.chdir(exported.bundle)
    card = (exported.bundle / "README.md").read_text()
    fences = [part.split("```")[0] for part in card.split("```python\n")[1:]]
    (code,) = [fence for fence in fences if "InferenceSession" in fence]
    scope = {}
    exec(code, scope)
    assert scope["session"].get_inputs()[0].name == "input_ids"
    assert scope["outputs"][0].shape[::2] == (1, 32)


def test_the_card_says_why_onnxruntime_genai_cannot_write(exported):
    manifest = replace(exported.manifest, task="text-generation", pooling=None)
    assert "onnxruntime-genai" not in model_card(manifest, genai=None)
    card = model_card(manifest, genai="the graph has no cache")
    assert "so it holds no genai_config.json: the graph has no cache." in card
    files = manifest.files | {"genai_config.json": manifest.files["config.json"]}
    card = model_card(replace(manifest, files=files), genai="")
    assert "holds no genai_config.json" not in card
    assert "import onnxruntime_genai as og" in card


def test_what_was_left_out_is_on_the_card(exported):
    card = model_card(exported.manifest, notes=("spm.model is missing",))
    assert "\nNote: spm.model is missing.\n" in card
    assert "Note:" not in model_card(exported.manifest)


_EVIL = '"]); import os; os.exit(1)\n```\n---\n# evil | `x` <script>alert(1)</script> [a](http://evil)\x1b'


def test_names_of_the_model_break_out_of_nothing(exported):
    manifest = exported.manifest
    table = replace(manifest.tables[0], name=_EVIL, form=_EVIL, original_bytes=1)
    evil = replace(
        manifest,
        task="feature-extraction",
        source=replace(manifest.source, name=_EVIL, kind="hub"),
        ids_input=_EVIL,
        tables=(table, replace(table, name="other")),
    )
    card = model_card(evil, genai=_EVIL, notes=[_EVIL], vector=None, licence=_EVIL)
    plain = replace(manifest, tables=(table, table), ids_input="tokens")
    usual = model_card(plain, genai="x", notes=["x"])
    assert outline(card) == outline(usual)
    head, _, _ = card.partition("\n---\n")
    assert set(yaml.safe_load(head.removeprefix("---\n"))) == {
        "library_name",
        "pipeline_tag",
        "tags",
        "license",
        "base_model",
        "base_model_relation",
    }
    assert "\x1b" not in card
    programs = re.findall(r"```python\n(.*?)\n```", card, re.DOTALL)
    names = [node.value for program in programs for node in ast.walk(ast.parse(program))
             if isinstance(node, ast.Constant)]  # fmt: skip
    assert _EVIL in names


def outline(card: str) -> list[tuple[str, str]]:
    """The blocks of a card below its front matter; code by its language."""
    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    tokens = parser.parse(card.partition("\n---\n")[2])
    inner = [one for token in tokens for one in token.children or () if "html" in one.type]
    assert not inner
    return [(token.type, token.info) for token in tokens if token.type != "inline"]


def test_an_output_that_is_a_vector_is_a_name_too(exported):
    card = model_card(exported.manifest, vector=_EVIL)
    assert "alert" in card
    assert not [kind for kind, _ in outline(card) if "html" in kind]

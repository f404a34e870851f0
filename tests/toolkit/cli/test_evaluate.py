"""``lighttoken evaluate``: models found, made and opened; what is printed; what is refused."""

import contextlib
import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers

from toolkit.cli.app import run

PAIRS = """\
a cat sleeps,a kitten naps,4.5
stocks fell,the rain fell,2.0
a cat,stocks,0.5
the river,the rain,3.0
"""
TEXT = "a cat sleeps\nstocks fell the rain\nthe river naps a kitten\n"
FEW = ("--resamples", 20, "--json")
SIZES = {"vocab_size": 600, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
         "intermediate_size": 64, "max_position_embeddings": 64}  # fmt: skip


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.csv"
    path.write_text(PAIRS)
    return path


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT * 9)
    return path


@pytest.fixture(scope="module")
def table(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The encoder's table, packed by ``lighttoken compress``."""
    path = tmp_path_factory.mktemp("tables") / "packed.safetensors"
    weights = str(tiny_model / "model.safetensors")
    name = "embeddings.word_embeddings.weight"
    assert run(["compress", weights, str(path), "--tensor", name, "--ratio", "4"]) == 0
    return path


@pytest.fixture(scope="module")
def of_task(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory):
    """``of_task(architecture)``: a tiny model's folder and its bundle, each made once."""
    made: dict[str, tuple[Path, Path]] = {}

    def build(architecture: str) -> tuple[Path, Path]:
        if architecture not in made:
            folder = tmp_path_factory.mktemp("tasks") / architecture
            torch.manual_seed(1)
            kind = getattr(transformers, architecture)
            kind(transformers.BertConfig(**SIZES)).save_pretrained(folder)
            shutil.copyfile(tiny_model / "tokenizer.json", folder / "tokenizer.json")
            roles = {"pad_token": "[PAD]", "mask_token": "[MASK]"}
            (folder / "tokenizer_config.json").write_text(json.dumps(roles))
            bundle = folder.parent / "bundle"
            with contextlib.redirect_stdout(None):  # the tests read what follows it
                assert run(["export", str(folder), str(bundle), "--ratio", "5"]) == 0
            made[architecture] = folder, bundle
        return made[architecture]

    return build


def scores(outcome, metric: str) -> dict[str, float]:
    """By model."""
    assert outcome.code == 0, outcome.err
    return {
        figure["model"]: figure["score"]["value"]
        for figure in outcome.json["figures"]
        if figure["metric"] == metric
    }


def test_against_the_original(lighttoken, tiny_bundle: Path, tiny_model: Path, pairs: Path):
    outcome = lighttoken("evaluate", tiny_bundle, "--pairs", pairs, "--original", tiny_model, *FEW)
    assert list(scores(outcome, "Spearman")) == ["original", "tiny"]
    assert 0.5 < scores(outcome, "cosine, mean")["tiny"] < 1
    original, tiny = outcome.json["models"]
    assert original["nbytes"] > tiny["nbytes"] > 0
    manifest = json.loads((tiny_bundle / "lighttoken.json").read_text())
    assert tiny["nbytes"] == manifest["footprint"]["model_bytes"]
    assert original["nbytes"] == manifest["footprint"]["original_model_bytes"]
    assert (outcome.json["schema"], outcome.json["resamples"]) == (1, 20)


def test_the_original_is_remembered(lighttoken, tiny_model: Path, pairs: Path, tmp_path: Path):
    assert lighttoken("export", tiny_model, tmp_path / "out", "--ratio", 5).code == 0
    outcome = lighttoken("evaluate", tmp_path / "out", "--pairs", pairs, "--resamples", 20)
    assert outcome.code == 0
    assert "Spearman (n = 4, higher is better)" in outcome.out
    assert "original" in outcome.out
    assert "95% interval" in outcome.out
    assert " MB" in outcome.out


def test_another_original_is_told(lighttoken, tiny_bundle, tiny_model, pairs, tmp_path: Path):
    other = tmp_path / "other"
    shutil.copytree(tiny_model, other)
    torch.manual_seed(9)
    config = transformers.BertConfig.from_pretrained(tiny_model)
    transformers.BertModel(config).save_pretrained(other)
    outcome = lighttoken("evaluate", tiny_bundle, "--pairs", pairs, "--original", other, *FEW)
    assert outcome.code == 0, outcome.err
    told = [
        note for note in outcome.json["notes"] if "is not what the bundle was made from" in note
    ]
    assert len(told) == 1
    right = lighttoken("evaluate", tiny_bundle, "--pairs", pairs, "--original", tiny_model, *FEW)
    assert not any("is not what" in note for note in right.json["notes"])


def test_an_unknown_original_is_asked_for(fails, tiny_bundle: Path, pairs: Path):
    line = fails("evaluate", tiny_bundle, "--pairs", pairs, "--against", "int8")
    assert "give it with --original" in line


def test_a_model_of_against_stands_in_for_an_unknown_original(
    lighttoken, tiny_bundle: Path, tiny_model: Path, pairs: Path
):
    arguments = ("evaluate", tiny_bundle, "--pairs", pairs, *FEW)
    found = lighttoken(*arguments, "--against", tiny_model)
    assert found.json == lighttoken(*arguments, "--original", tiny_model).json
    assert len(found.json["models"]) == 2


def test_a_bundle_against_itself_loses_nothing(lighttoken, tiny_bundle: Path, pairs: Path):
    outcome = lighttoken("evaluate", tiny_bundle, "--pairs", pairs, "--original", tiny_bundle, *FEW)
    assert scores(outcome, "cosine, mean")["tiny"] == pytest.approx(1)
    change = outcome.json["figures"][1]["difference"]
    assert change == {"value": 0, "low": 0, "high": 0}


def test_rivals(lighttoken, tiny_bundle: Path, tiny_model: Path, text: Path, table: Path, of_task):
    names = ["int8", "int4", tiny_bundle, table, "original", tiny_model]
    against = [word for name in names for word in ("--against", name)]
    outcome = lighttoken(
        "evaluate", tiny_bundle, "--text", text, "--original", tiny_model, *against, *FEW
    )
    found = scores(outcome, "cosine, mean")
    assert list(found) == ["tiny", "int8", "int4", "tiny (2)", "packed"]
    assert found["tiny"] == found["tiny (2)"]
    assert found["int8"] > found["int4"] > 0.9
    sizes = {model["name"]: model["nbytes"] for model in outcome.json["models"]}
    assert sizes["int4"] < sizes["int8"] < sizes["original"]
    assert sizes["packed"] == pytest.approx(
        sizes["original"] - 600 * 32 * 4 + table.stat().st_size, abs=8
    )


def test_another_model_is_a_rival_with_its_own_tokenizer(
    lighttoken, tiny_bundle: Path, tiny_model: Path, text: Path, pairs: Path, tmp_path: Path
):
    other = tmp_path / "other"
    torch.manual_seed(3)
    transformers.BertModel(transformers.BertConfig(**SIZES | {"hidden_size": 16})).save_pretrained(
        other
    )
    shutil.copyfile(tiny_model / "tokenizer.json", other / "tokenizer.json")
    arguments = ("--original", tiny_model, "--against", other)
    outcome = lighttoken("evaluate", tiny_bundle, "--pairs", pairs, *arguments, *FEW)
    assert list(scores(outcome, "Spearman")) == ["original", "tiny", "other"]
    assert list(scores(outcome, "cosine, mean")) == ["tiny"]


def test_a_table_in_a_model(lighttoken, tiny_model: Path, table: Path, pairs: Path, text: Path):
    outcome = lighttoken(
        "evaluate", table, "--model", tiny_model, "--pairs", pairs, "--text", text, *FEW
    )
    assert list(scores(outcome, "Spearman")) == ["original", "packed"]
    assert 0.5 < scores(outcome, "cosine, mean")["packed"] < 1
    measures = {figure["measure"] for figure in outcome.json["figures"]}
    assert measures == {"pairs", "text"}


def test_head_and_input_table_apart(lighttoken, of_task, text: Path):
    folder, bundle = of_task("BertForMaskedLM")
    arguments = ("--text", text, "--original", folder, "--against", "int8")
    outcome = lighttoken("evaluate", bundle, *arguments, *FEW)
    divergence = scores(outcome, "KL divergence")
    both, alone = "bundle: input table and head", "bundle: input table alone"
    assert list(divergence) == [both, alone, "int8"]
    assert divergence[both] != divergence[alone]
    assert min(divergence.values()) > 0
    perplexities = scores(outcome, "masked perplexity (15%)")
    assert list(perplexities) == ["original", both, alone, "int8"]
    assert "at most 20,000 tokens" in outcome.json["notes"][0]


def test_a_head_of_its_own_apart_from_the_table(lighttoken, text: Path, tiny_model, tmp_path):
    folder, bundle = tmp_path / "untied", tmp_path / "bundle"
    torch.manual_seed(1)
    config = transformers.BertConfig(**SIZES, tie_word_embeddings=False)
    transformers.BertForMaskedLM(config).save_pretrained(folder)
    shutil.copyfile(tiny_model / "tokenizer.json", folder / "tokenizer.json")
    roles = {"pad_token": "[PAD]", "mask_token": "[MASK]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(roles))
    sizes = ("--ratio", 4, "--head-ratio", 6)
    assert lighttoken("export", folder, bundle, *sizes).code == 0
    outcome = lighttoken("evaluate", bundle, "--text", text, "--original", folder, *FEW)
    divergence = scores(outcome, "KL divergence")
    parts = [f"bundle: {part}" for part in ("input table and head", "input table alone",
                                            "head alone")]  # fmt: skip
    assert list(divergence) == parts
    assert len(set(divergence.values())) == 3
    assert min(divergence.values()) > 0
    original, both, table, head = (model["nbytes"] for model in outcome.json["models"])
    manifest = json.loads((bundle / "lighttoken.json").read_text())
    assert original - table == 600 * 32 * 4 - manifest["tables"][0]["bytes"]
    assert original - head == 600 * 32 * 4 - manifest["heads"][0]["bytes"]
    assert both < head < table


def test_each_token_masked_alone(lighttoken, fails, of_task, text: Path):
    folder, masked = of_task("BertForMaskedLM")
    arguments = ("--text", text, "--original", folder, "--pseudo-perplexity", "--limit", 40)
    outcome = lighttoken("evaluate", masked, *arguments, *FEW)
    pseudo = scores(outcome, "pseudo-perplexity")
    assert pseudo["original"] > 1
    assert "masked perplexity (15%)" not in {one["metric"] for one in outcome.json["figures"]}
    _, encoder = of_task("BertModel")
    line = fails("evaluate", encoder, "--text", text, "--pseudo-perplexity")
    assert "only masked models have a pseudo-perplexity" in line


def test_a_table_whose_head_shares_it(lighttoken, of_task, text: Path, tmp_path: Path):
    folder, _ = of_task("BertForMaskedLM")
    packed = tmp_path / "packed.lt"
    name = "bert.embeddings.word_embeddings.weight"
    options = ("--tensor", name, "--ratio", 5)
    assert lighttoken("compress", folder / "model.safetensors", packed, *options).code == 0
    outcome = lighttoken("evaluate", packed, "--model", folder, "--text", text, *FEW)
    names = ["packed: input table and head", "packed: input table alone"]
    assert list(scores(outcome, "top-1 agreement")) == names
    original, both, alone = (model["nbytes"] for model in outcome.json["models"])
    assert both < original < alone


def test_a_classifier(lighttoken, of_task, text: Path, tmp_path: Path):
    folder, bundle = of_task("BertForSequenceClassification")
    labelled = tmp_path / "dev.tsv"
    labelled.write_text("sentence\tlabel\na cat\t1\nstocks\t0\nrain\t1\n")
    outcome = lighttoken(
        "evaluate", bundle, "--classify", labelled, "--text", text, "--original", folder, *FEW
    )
    assert list(scores(outcome, "accuracy")) == ["original", "bundle"]
    assert list(scores(outcome, "F1")) == ["original", "bundle"]
    assert list(scores(outcome, "top-1 agreement")) == ["bundle"]
    assert "matched by number" in outcome.json["notes"][0]


def test_labels_of_another_task(fails, of_task, tmp_path: Path):
    folder, bundle = of_task("BertForSequenceClassification")
    labelled = tmp_path / "dev.csv"
    labelled.write_text("text,label\na cat,animal\nrain,weather\n")
    line = fails("evaluate", bundle, "--classify", labelled, "--original", folder)
    assert "the data's labels (animal, weather) are not those of original" in line


def test_answers(lighttoken, of_task, text: Path, tmp_path: Path):
    folder, bundle = of_task("BertForQuestionAnswering")
    asked = tmp_path / "qa.jsonl"
    asked.write_text(
        '{"question": "a cat", "context": "the rain fell a river", "answers": ["rain"]}\n' * 2
    )
    outcome = lighttoken(
        "evaluate", bundle, "--qa", asked, "--text", text, "--original", folder, *FEW
    )
    assert list(scores(outcome, "exact match")) == ["original", "bundle"]
    assert list(scores(outcome, "KL divergence")) == ["bundle"]


def test_a_probe(lighttoken, tiny_bundle: Path, tiny_model: Path, tmp_path: Path):
    for name in ("train.csv", "test.csv"):
        (tmp_path / name).write_text("text,label\na cat,x\nrain,y\na kitten,x\nthe river,y\n")
    files = tmp_path / "train.csv", tmp_path / "test.csv"
    options = ("--original", tiny_model, "--limit", 4)
    outcome = lighttoken("evaluate", tiny_bundle, "--probe", *files, *options, *FEW)
    assert scores(outcome, "accuracy")["original"] == 100
    assert "4 texts of the probe's test file are in its training file" in outcome.json["notes"][0]


def test_what_is_refused_before_anything_is_opened(
    fails, tiny_bundle: Path, table: Path, text: Path, tmp_path: Path
):
    for arguments, says in (
        ((tiny_bundle, "--pairs", tmp_path / "no.csv"), "no.csv is not here"),
        ((tiny_bundle,), "give --pairs or --probe or --text"),
        ((tiny_bundle, "--qa", text), "evaluate --qa needs a model that answers questions"),
        ((tiny_bundle, "--classify", text), "evaluate --classify needs a text classifier"),
        ((tiny_bundle, "--text", text, "--model", "x"), "is a bundle, which brings its model"),
        ((tiny_bundle, "--text", text, "--limit", 1), "limit must be at least 2"),
        ((table, "--text", text), "say with --model into which model it goes"),
        ((tmp_path / "none", "--text", text), "is no bundle"),
        ((text, "--text", text), "is no bundle"),
    ):
        assert says in fails("evaluate", *arguments)


def test_a_table_of_another_model(fails, tiny_model: Path, table: Path, tmp_path: Path, text: Path):
    torch.manual_seed(3)
    other = transformers.BertModel(transformers.BertConfig(**SIZES | {"vocab_size": 500}))
    other.save_pretrained(tmp_path / "other")
    shutil.copyfile(tiny_model / "tokenizer.json", tmp_path / "other" / "tokenizer.json")
    line = fails("evaluate", table, "--model", tmp_path / "other", "--text", text)
    assert "the packed table is 600 x 32" in line


def test_no_resamples(fails, tiny_bundle: Path, tiny_model: Path, pairs: Path):
    line = fails(
        "evaluate", tiny_bundle, "--pairs", pairs, "--original", tiny_model, "--resamples", 0
    )
    assert "resamples must be at least 1, got 0" in line


@pytest.mark.slow
def test_the_real_model(lighttoken, minilm_folder: Path, tmp_path: Path):
    """Pairs that no encoder gets wrong; a table so small that it does."""
    (tmp_path / "pairs.csv").write_text(
        "A man is playing a guitar.,A man plays the guitar.,5\n"
        "A man is playing a guitar.,Someone makes music.,3\n"
        "A man is playing a guitar.,Stocks fell sharply today.,0\n"
        "A dog runs in the park.,A dog is running through a park.,5\n"
        "A dog runs in the park.,An animal is outside.,3\n"
        "A dog runs in the park.,She reads the newspaper.,0\n"
    )
    weights = minilm_folder / "model.safetensors"
    table = tmp_path / "table.safetensors"
    options = ("--tensor", "embeddings.word_embeddings.weight", "--ratio", 200, "--effort", "fast")
    assert lighttoken("compress", weights, table, *options).code == 0
    outcome = lighttoken(
        "evaluate", table, "--model", minilm_folder, "--pairs", tmp_path / "pairs.csv",
        "--against", "int8", *FEW
    )  # fmt: skip
    near = scores(outcome, "cosine, mean")
    assert scores(outcome, "Spearman")["original"] > 90
    assert 0.3 < near["table"] < 0.95 < near["int8"] < 1

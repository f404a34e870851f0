"""transformers.js in node opens a bundle of its layout.

It lies in build/loads/node_modules, where `make test-loads` puts it. Its onnxruntime knows nothing
of the native kernel, so it runs the function in the file.
"""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from exporters import export
from runtime import open_pipeline
from toolkit import Budget

HERE = Path(__file__).parent
LOADS = HERE.parents[2] / "build" / "loads"
INSTALLED = LOADS / "node_modules" / "@huggingface" / "transformers" / "package.json"

RUN = """
const feeds = {};
for (const [name, ids] of Object.entries(JSON.parse(process.argv[2]))) {
  feeds[name] = new ort.Tensor("int64", BigInt64Array.from(ids.map(BigInt)), [1, ids.length]);
}
const { last_hidden_state } = await session.run(feeds);
console.log(JSON.stringify(Array.from(last_hidden_state.data)));
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("node") is None, reason="needs node 20 or newer"),
    pytest.mark.skipif(not INSTALLED.is_file(), reason="needs transformers.js: make test-loads"),
]


@pytest.fixture(scope="module")
def web(minilm_bundle):
    return minilm_bundle("transformers-js")


@pytest.fixture
def node(tmp_path):
    """``node(program, *arguments, stdin=...)``: what it prints last, read as JSON."""

    def run(program, *arguments, stdin="", cwd=None):
        # Modules are looked for beside the program.
        (tmp_path / "node_modules").symlink_to(LOADS / "node_modules")
        path = tmp_path / "program.mjs"
        path.write_text(program, encoding="utf-8")
        done = subprocess.run(
            ["node", str(path), *map(str, arguments)],
            input=stdin,
            cwd=cwd,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


def test_it_is_the_version_that_is_pinned():
    pinned = json.loads((HERE / "package.json").read_text())["dependencies"]
    installed = json.loads(INSTALLED.read_text())["version"]
    assert installed == pinned["@huggingface/transformers"]


@pytest.mark.parametrize("dtype", ["fp32", ""])
@pytest.mark.parametrize("pooling", ["mean", "graph"])
def test_vectors_are_the_pipelines(web, texts, node, close, pooling, dtype):
    got = node(
        (HERE / "vectors.mjs").read_text(encoding="utf-8"),
        web.folder.parent,
        web.folder.name,
        dtype,
        pooling,
        stdin=json.dumps(texts),
    )
    close(got, web.vectors)
    cosines = (np.asarray(got) * web.vectors).sum(axis=1)
    assert cosines.min() > 0.99999


@pytest.mark.parametrize("dtype", ["q1", ""])
def test_the_file_that_dtype_asks_for(minilm_bundle, texts, node, close, dtype):
    named = minilm_bundle("transformers-js-q1")
    assert named.manifest.model == "onnx/model_q1.onnx"
    program = (HERE / "vectors.mjs").read_text(encoding="utf-8")
    place = (named.folder.parent, named.folder.name)
    close(node(program, *place, dtype, "mean", stdin=json.dumps(texts)), named.vectors)


def test_the_cards_program_runs(web, node, card_programs, close, tmp_path):
    (program,) = [text for text in card_programs(web.folder, "javascript") if "pipeline(" in text]
    (tmp_path / "models").symlink_to(web.folder.parent)
    got = node(f"{program}\nconsole.log(JSON.stringify(results.tolist()));", cwd=tmp_path)
    close(got, open_pipeline(web.folder)(["A cat sleeps.", "A kitten is napping."]))


@pytest.mark.parametrize("layout", ["transformers-js", "transformers-js-q1"])
@pytest.mark.parametrize(
    "architecture", ["BertForMaskedLM", "BertForSequenceClassification", "LlamaForCausalLM"]
)
def test_the_cards_program_runs_on_other_tasks(
    save_tiny, node, card_programs, run_card, tmp_path, architecture, layout
):
    cached = {"with_past": True} if architecture.endswith("CausalLM") else {}
    folder = save_tiny(architecture, layout, **cached)
    (program,) = [text for text in card_programs(folder, "javascript") if "pipeline(" in text]
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / architecture).symlink_to(folder)
    got = node(f"{program}\nconsole.log(JSON.stringify(results));", cwd=tmp_path)
    if cached:
        scope = run_card(folder, "ORTModelForCausalLM")
        (wanted,) = scope["tokenizer"].batch_decode(scope["outputs"], skip_special_tokens=True)
        ((answer,),) = got
        assert answer["generated_text"] == wanted
        return
    # Our kernel rounds a packed head's logits; here the function in the file is run.
    (wanted,) = open_pipeline(folder, op=False)(run_card(folder, "ORTModelFor")["texts"])
    if architecture == "BertForMaskedLM":
        wanted = [(each.token, each.score) for each in wanted[0].candidates]
        found = [(each["token_str"], each["score"]) for each in np.ravel(got)]
    else:
        wanted, found = [(wanted.label, wanted.score)], [(got[0]["label"], got[0]["score"])]
    assert [name for name, _ in found] == [name for name, _ in wanted]
    np.testing.assert_allclose([f for _, f in found], [w for _, w in wanted], atol=1e-5)


@pytest.mark.parametrize("target", ["cpu", "wasm", "webgpu"])
@pytest.mark.parametrize("architecture", ["LlamaForCausalLM", "Gemma3ForCausalLM"])
def test_greedy_tokens_are_ours(decoder_folder, quick, node, tmp_path, architecture, target):
    bundle = tmp_path / architecture
    options = quick(structure="transformers-js", with_past=True, target=target)
    export(str(decoder_folder(architecture, 64)), bundle, Budget(ratio=6), options=options)
    prompt = "w7 w9 w11 w200 w31"
    wanted = open_pipeline(bundle, op=False)(prompt, max_tokens=32)
    program = (HERE / "write.mjs").read_text(encoding="utf-8")
    found = node(program, tmp_path, architecture, 32, stdin=prompt)
    assert len(set(wanted.tokens)) > 5
    ends = [1] if wanted.stopped else []  # it tells the token that ends the text too
    assert found["ids"] == [*wanted.tokens, *ends]
    assert found["text"].split() == wanted.text.split()


@pytest.mark.parametrize("package", ["onnxruntime-web", "onnxruntime-node"])
@pytest.mark.parametrize("layout", ["flat", "transformers-js"])
def test_the_cards_programs_for_onnxruntime_run(
    minilm_bundle, node, card_programs, close, layout, package
):
    bundle = minilm_bundle(layout)
    (program,) = [text for text in card_programs(bundle.folder, "javascript") if package in text]
    pipeline = open_pipeline(bundle.folder)
    tokens = pipeline.model.tokenizer.pad(pipeline.model.tokenizer.split(["A cat sleeps."]))
    feeds = {name: values.ravel().tolist() for name, values in tokens.items()}
    got = node(f"{program}\n{RUN}", json.dumps(feeds), cwd=bundle.folder)
    (wanted,) = pipeline.model.batches(["A cat sleeps."], 1)
    close(np.reshape(got, wanted.output.shape), wanted.output)


def test_every_file_that_it_reads_is_there(web):
    config = json.loads((web.folder / "config.json").read_text())
    assert config["transformers.js_config"] == {"use_external_data_format": True, "dtype": "fp32"}
    wanted = {"onnx/model.onnx", "onnx/model.onnx_data", "tokenizer.json", "tokenizer_config.json"}
    assert wanted <= set(web.manifest.files)

"""transformers.js in headless Chromium finds the file that its dtype q1 asks for.

The library lies in build/loads/node_modules, where `make test-loads` puts it.
"""

import json
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

from exporters import ExportOptions, export
from runtime import Sampling, open_pipeline
from toolkit import Budget, LightTokenConfig

MODULES = Path(__file__).parents[3] / "build" / "loads" / "node_modules"
LIBRARY = MODULES / "@huggingface" / "transformers" / "dist"
TEXTS = ["A cat sleeps.", "A kitten naps in the sun."]
RUN = """
    return page.evaluate(async ([task, name, given, settings]) => {
      const { env, pipeline } = await import("/library/transformers.min.js");
      env.localModelPath = "/models/";
      env.allowLocalModels = true;
      env.allowRemoteModels = false;
      env.useBrowserCache = false;
      env.backends.onnx.wasm.wasmPaths = "/runtime/";
      const run = await pipeline(task, name, { dtype: "q1", device: "wasm" });
      const found = await run(given, settings);
      return found.tolist ? found.tolist() : found;
    }, TASK);
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("need_browser"),
    pytest.mark.skipif(not LIBRARY.is_dir(), reason="needs transformers.js: make test-loads"),
]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextmanager
def served(folder):
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def run(tmp_path, look):
    """``run(bundle, task, given, settings)``: what the library makes of it in a page."""

    def call(bundle, task, given, settings):
        site = tmp_path / "site"
        (site / "models").mkdir(parents=True)
        (site / "index.html").write_text("<!doctype html><title>a page</title>")
        (site / "library").symlink_to(LIBRARY)
        (site / "runtime").symlink_to(MODULES / "onnxruntime-web" / "dist")
        (site / "models" / bundle.name).symlink_to(bundle)
        asked = json.dumps([task, bundle.name, given, settings])
        with served(site) as address:
            seen = look(address, RUN.replace("TASK", asked))
        assert not [each for each in seen.asked if not each.startswith(address)]
        assert any(each.endswith("onnx/model_q1.onnx") for each in seen.asked)
        assert any(each.endswith("onnx/model_q1.onnx_data") for each in seen.asked)
        return seen.found

    return call


def test_vectors_are_the_pipelines(minilm_folder, tmp_path, run):
    out = tmp_path / "minilm"
    options = ExportOptions(
        target="wasm", structure="transformers-js-q1", config=LightTokenConfig(rounds=1)
    )
    export(str(minilm_folder), out, Budget(ratio=25), options=options)
    found = run(out, "feature-extraction", TEXTS, {"pooling": "mean", "normalize": True})
    np.testing.assert_allclose(found, open_pipeline(out, op=False)(TEXTS), atol=1e-4)


def test_a_decoder_writes_what_the_pipeline_writes(tmp_path, run):
    torch.manual_seed(3)
    words = ["<pad>", "<s>", "</s>", *(f"w{n}" for n in range(997))]
    config = transformers.LlamaConfig(
        vocab_size=1000, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=64, initializer_range=0.6,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, tie_word_embeddings=True,
    )  # fmt: skip
    folder = tmp_path / "llama"
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    library = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, "<pad>"))
    library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    library.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>"}
    settings |= {"bos_token": "<s>", "eos_token": "</s>", "model_max_length": 64}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    out = tmp_path / "decoder"
    options = ExportOptions(target="wasm", structure="transformers-js-q1", with_past=True)
    export(str(folder), out, Budget(ratio=5), options=options)
    given = {"max_new_tokens": 8, "do_sample": False, "return_full_text": False}
    (found,) = run(out, "text-generation", "w3 w4 w5", given)
    ours = open_pipeline(out, op=False)("w3 w4 w5", Sampling(), max_tokens=8)
    assert found["generated_text"].split() == ours.text.split()

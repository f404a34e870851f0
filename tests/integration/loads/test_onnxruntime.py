"""A bare onnxruntime, in a process that cannot import this project, and the card's own program."""

import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.slow

BARE = """
import sys

class Blocker:
    def find_spec(self, name, *_):
        if name.split(".")[0] in ("toolkit", "exporters", "runtime", "torch", "onnx", "onnx_ir"):
            raise ImportError(name)

sys.meta_path.insert(0, Blocker())
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
with np.load(sys.argv[2]) as feeds:
    wanted = {entry.name: feeds[entry.name] for entry in session.get_inputs()}
names = [entry.name for entry in session.get_outputs()]
np.savez(sys.argv[3], **dict(zip(names, session.run(names, wanted))))
"""


def test_a_bare_process_gives_the_same_vectors(bundle, texts, close, tmp_path):
    from runtime import open_pipeline
    from runtime.tasks.pooling import pool

    tokenizer = open_pipeline(bundle.folder).model.tokenizer
    tokens = tokenizer.pad(tokenizer.split(texts))
    np.savez(tmp_path / "feeds.npz", **tokens)
    files = (bundle.folder / bundle.manifest.model, tmp_path / "feeds.npz", tmp_path / "out.npz")
    command = [sys.executable, "-I", "-c", BARE, *map(str, files)]
    subprocess.run(command, cwd=tmp_path, check=True)
    with np.load(files[-1]) as outputs:
        hidden = outputs["last_hidden_state"]
        pooled = outputs["sentence_embedding"] if bundle.manifest.pooled else None
    close(pool(hidden, tokens["attention_mask"], bundle.manifest.pooling), bundle.vectors)
    if pooled is not None:
        close(pooled, bundle.vectors)


def test_the_cards_programs_run(bundle, run_card, close):
    vectors = run_card(bundle.folder, "open_pipeline")["results"]
    (output,) = run_card(bundle.folder, "onnxruntime.InferenceSession")["outputs"]
    if not bundle.manifest.pooled:  # one text: all of its tokens count
        output = output.mean(axis=1)
        output /= np.linalg.norm(output, axis=1, keepdims=True)
    close(output, vectors[:1])

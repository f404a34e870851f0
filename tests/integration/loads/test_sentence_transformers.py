"""sentence-transformers opens a bundle by its onnx backend.

It lies in build/loads/python, where `make test-loads` puts it, or in the environment itself.
"""

import pytest

from runtime import open_pipeline

pytest.importorskip("optimum.onnxruntime", reason="needs optimum: pip install -e '.[optimum]'")
sentence_transformers = pytest.importorskip(
    "sentence_transformers", reason="needs sentence-transformers: make test-loads"
)

pytestmark = pytest.mark.slow


def test_vectors_are_the_pipelines(bundle, texts, close):
    model = sentence_transformers.SentenceTransformer(str(bundle.folder), backend="onnx")
    close(model.encode(texts), bundle.vectors)


def test_the_cards_program_runs(bundle, run_card, close):
    scope = run_card(bundle.folder, "SentenceTransformer(")
    close(scope["vectors"], open_pipeline(bundle.folder)(["A cat sleeps.", "A kitten is napping."]))

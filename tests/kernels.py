"""The native kernel as it is built from the sources here, and models that need it."""

import numpy as np
import pytest

from exporters.ops.head import head_model
from exporters.ops.lookup import decode_model
from runtime import native
from runtime.custom_op.build import TARGETS, BuildError, build, find_headers
from toolkit import Budget, LightTokenConfig, compress


@pytest.fixture(scope="session")
def layer_models(tmp_path_factory, small_table, small_embedding):
    """Tables and heads of codebooks of both kinds, each beside what it is fed and should give.

    As ``tests/integration/native/library_check.py`` reads them.
    """
    folder = tmp_path_factory.mktemp("models")
    config = LightTokenConfig(rounds=1, additive=True)
    ids = np.arange(len(small_table)).reshape(7, 101)
    hidden = np.random.default_rng(0).normal(size=(2, 9, small_table.shape[1])).astype(np.float32)
    for kind, embedding in (
        ("whole", small_embedding),
        ("split", compress(small_table, Budget(ratio=10), config=config)),
    ):
        logits = embedding.logits(hidden)
        # Logits are near ones: test_native.py has the bound, which is narrower.
        for name, model, feed, expected, tolerance in (
            ("rows", decode_model(embedding), ids, embedding.lookup(ids), 0),
            ("logits", head_model(embedding), hidden, logits, 0.01 * np.ptp(logits)),
        ):
            path = folder / f"{kind}-{name}.onnx"
            path.write_bytes(model.SerializeToString())
            np.savez(
                path.with_suffix(".npz"),
                feed=feed,
                expected=expected,
                tolerance=np.array(tolerance),
            )
    return sorted(folder.glob("*.onnx"))


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """The kernel built from the sources here, aside from any that is installed."""
    out = tmp_path_factory.mktemp("op") / native.LIBRARY.name
    try:
        return build(TARGETS["host"], find_headers(None), out)
    except BuildError as error:
        pytest.skip(str(error))

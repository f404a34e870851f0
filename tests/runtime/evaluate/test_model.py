"""Models under evaluation."""

import numpy as np

from runtime.evaluate.model import open_model
from toolkit.bundle.manifest import Pooling


def test_of_a_model_with_a_vector_for_each_token_the_mean_counts(tmp_path, tiny):
    table = tiny.table()
    folder = tiny.bundle(tmp_path / "b", pooling=Pooling("colbert", normalize=True))
    (found,) = open_model(folder, "tiny").encoder()(["red green"])
    np.testing.assert_allclose(found, table[[2, 5, 6, 3]].mean(axis=0), atol=1e-6)

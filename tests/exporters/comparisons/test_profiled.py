"""What a decoder with a cache is measured beside."""

import onnx
import pytest

from exporters import export
from exporters.comparisons.profiled import file_beside
from toolkit import Budget
from toolkit.bundle.feeds import LOGITS_TO_KEEP, is_cache


@pytest.mark.parametrize("word", ["original", "int4"])
def test_it_has_a_cache_and_gives_the_last_logits_alone(tiny_folder, quick, tmp_path, word):
    folder = str(tiny_folder("LlamaForCausalLM"))
    manifest = export(folder, tmp_path / "out", Budget(ratio=5), options=quick(with_past=True))
    (tmp_path / "work").mkdir()
    path = file_beside(word, manifest, folder, tmp_path / "work", trust_remote_code=False)
    graph = onnx.load(path).graph
    names = [value.name for value in graph.input]
    assert sum(map(is_cache, names)) == 4
    assert LOGITS_TO_KEEP in names
    if word == "int4":
        large = {t.name for t in graph.initializer if len(t.dims) == 2 and t.data_type == 1}
        readers = {node.op_type for node in graph.node if large & set(node.input)}
        assert "MatMul" not in readers

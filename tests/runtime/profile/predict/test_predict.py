import dataclasses
import importlib.metadata
import io
import re
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
from onnx import numpy_helper
from rich.console import Console

from runtime.profile.predict.operators import SUPPORT
from runtime.profile.predict.predict import Refusal, predict
from runtime.profile.report.placement_terminal import render_prediction
from runtime.setup import home
from toolkit.errors import InputError

FLOATS = np.ones((4, 4), np.float32)
INT64 = np.arange(4)


@pytest.fixture
def predicted(tmp_path):
    """What is predicted of the nodes, written as in onnx.parser: «place, inputs, body, tensors»."""

    def build(place, inputs, body, **tensors):
        output = body.strip().splitlines()[-1].split("=")[0].strip()
        text = f"""<ir_version: 10, opset_import: ["" : 20, "com.microsoft" : 1]>
            g ({inputs}) => ({output}) {{ {body} }}"""
        model = onnx.parser.parse_model(text)
        for name, array in tensors.items():
            model.graph.initializer.append(numpy_helper.from_array(array, name))
        path = tmp_path / "model.onnx"
        onnx.save(model, path)
        return predict(path, place, subject="tiny")

    return build


def reasons(prediction):
    return {one.operator: one.reason for one in prediction.refused}


def test_it_says_what_it_is(predicted):
    prediction = predicted("coreml", "float[2,4] x", "y = Relu(x)")
    assert prediction.note == f"predicted from a table of {prediction.date}, nothing was run"
    assert (prediction.subject, prediction.place) == ("tiny", "coreml")
    assert prediction.provider == "CoreMLExecutionProvider"
    assert "onnxruntime" in prediction.source
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", prediction.date)


def test_islands_and_cuts_are_those_of_the_refused(predicted):
    prediction = predicted(
        "nnapi",
        "float[2,4] x",
        """a = Relu(x)
        b = Erf(a)
        y = Tanh(b)""",
    )
    assert prediction.taken == {"Relu": 1, "Tanh": 1}
    assert prediction.refused == (Refusal("Erf", "not in the table", 1),)
    assert [sum(island.operators.values()) for island in prediction.islands] == [1, 1, 1]
    assert (prediction.crossing_tensors, prediction.crossing_bytes) == (2, 2 * 2 * 4 * 4)
    assert prediction.advice == (
        "1 Erf: not in NNAPI, whatever the export; a transformer is cut at each of them",
    )


def test_element_types_decide(predicted):
    codes = np.zeros((9, 4), np.uint8)
    for place in ("nnapi", "coreml"):
        prediction = predicted(place, "int32[2] i", "y = Gather(codes, i)", codes=codes)
        assert reasons(prediction) == {"Gather": "uint8 input"}
        assert prediction.advice[0].startswith("1 Gather of bytes")
    assert not predicted("webnn", "int32[2] i", "y = Gather(codes, i)", codes=codes).refused


def test_nnapi_indexes_by_int32_unless_they_are_constant(predicted):
    found = predicted("nnapi", "int64[2] i", "y = Gather(table, i)", table=FLOATS)
    assert reasons(found) == {"Gather": "int64 input 1"}
    assert "--target nnapi" in found.advice[0]
    assert not predicted("nnapi", "int32[2] i", "y = Gather(table, i)", table=FLOATS).refused
    assert not predicted("nnapi", "float[4,4] x", "y = Gather(x, i)", i=INT64).refused


def test_nnapi_multiplies_matrices_or_stacks_alike(predicted):
    def refused(left, right=None, **tensors):
        inputs = f"float{left} a" + (f", float{right} b" if right else "")
        return predicted("nnapi", inputs, "y = MatMul(a, b)", **tensors).refused

    assert not refused("[2,4]", b=FLOATS)
    assert not refused("[2,3,4]", "[2,4,5]")
    assert refused("[2,4]", "[4,5]")  # a second matrix that is computed
    assert refused("[1,2,4]", b=FLOATS)
    assert refused("[2,3,4]", "[1,4,5]")


def test_limits_of_shapes(predicted):
    assert reasons(predicted("nnapi", "float[1,1,1,1,4] x", "y = Relu(x)")) == {
        "Relu": "5 dimensions"
    }
    large = predicted("coreml", "float[2,16385] x", "y = Relu(x)")
    assert reasons(large) == {"Relu": "a dimension above 16,384"}
    assert not predicted("coreml", "float[2,16384] x", "y = Relu(x)").refused


def test_free_shapes_matter_where_they_must_be_fixed(predicted):
    for place in ("nnapi", "webnn"):
        prediction = predicted(place, "float[b,4] x", "y = Relu(x)")
        assert reasons(prediction) == {"Relu": "free shape"}
        assert len(prediction.advice) == 1  # the shapes; not Relu, which would be taken
        assert "--batch 1 --sequence N" in prediction.advice[0]
    free = predicted("coreml", "float[b,4] x", "y = Relu(x)")
    assert not free.refused
    assert "--target coreml" in free.advice[0]


def test_sizes_that_are_given_fix_shapes(predicted, tmp_path):
    predicted("webnn", "float[b,4] x", "y = Relu(x)")
    assert not predict(tmp_path / "model.onnx", "webnn", dimensions={"b": 2}).refused


def test_constants_are_asked_for(predicted):
    found = predicted("coreml", "float[2,4] x, int64[1] n", "y = Reshape(x, n)")
    assert reasons(found) == {"Reshape": "input 1 is no constant"}
    assert not predicted("coreml", "float[2,4] x", "y = Reshape(x, n)", n=np.array([8])).refused


def test_what_a_cast_gives_and_attributes_count(predicted):
    found = predicted("nnapi", "float[4] x", "y = Cast<to = 10>(x)")
    assert reasons(found) == {"Cast": "gives float16"}
    found = predicted(
        "coreml",
        "float[2,4,4] x",
        "y = GatherND<batch_dims = 1>(x, i)",
        i=np.zeros((2, 1), np.int64),
    )
    assert reasons(found) == {"GatherND": "batch_dims is 1"}


def test_four_bit_products_are_webnns_alone(predicted):
    tensors = {
        "b": np.zeros((8, 1, 16), np.uint8),
        "scales": np.ones((8, 1), np.float32),
    }
    body = (
        """y = com.microsoft.MatMulNBits<K = 32, N = 8, bits = 4, block_size = 32>(x, b, scales)"""
    )
    assert not predicted("webnn", "float[2,32] x", body, **tensors).refused
    assert "--weights fp16" in predicted("coreml", "float[2,32] x", body, **tensors).advice[0]
    assert "--weights fp32" in predicted("nnapi", "float[2,32] x", body, **tensors).advice[0]


def test_weights_beside_the_file_are_told_where_nobody_reads_them(tiny, tmp_path):
    graph = tiny.graphs["feature-extraction"]
    inside = tiny.model(tmp_path / "inside.onnx", graph, tiny.table())
    outside = tiny.model(tmp_path / "outside.onnx", graph, tiny.table(), external=True)
    assert not any("--format ort" in line for line in predict(inside, "nnapi").advice)
    assert any("--format ort" in line for line in predict(outside, "nnapi").advice)
    assert not any("--format ort" in line for line in predict(outside, "coreml").advice)


def test_shape_arithmetic_is_told_apart(predicted):
    prediction = predicted(
        "nnapi",
        "float[2,b,4] x, float[8] z",
        """n = Shape<start = 1, end = 2>(x)
        y = Expand(z, n)""",
    )
    assert prediction.shape_nodes == 1
    assert reasons(prediction).keys() == {"Expand"}


def test_shapes_that_would_be_taken_are_not_counted_as_left(predicted):
    prediction = predicted("coreml", "float[b,4] x", "y = Shape(x)")
    assert prediction.taken == {"Shape": 1}
    assert prediction.shape_nodes == 0


def test_an_unknown_place_and_an_ort_file_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"'cpu'.*nnapi, coreml, webnn"):
        predict(tmp_path / "model.onnx", "cpu")
    with pytest.raises(InputError, match=r"\.ort file"):
        predict(tmp_path / "model.ort", "nnapi")


def test_it_is_shown_as_a_prediction(predicted):
    console = Console(width=120, file=io.StringIO())
    console.print(render_prediction(predicted("nnapi", "float[4] x", "y = Erf(x)")))
    text = console.file.getvalue()
    assert "nothing was run" in text
    assert "would take 0 of 1 node" in text
    assert "not in the table" in text
    assert "- 1 Erf: not in NNAPI" in text


LISTED = {"nnapi": "nnapi_supported_ops.md", "coreml": "coreml_supported_mlprogram_ops.md"}
UNLISTED = {"nnapi": set(), "coreml": {"Gather"}}  # which the provider has, and the list forgets


@pytest.mark.parametrize("place", LISTED)
def test_tables_are_onnxruntimes_lists(place):
    version = importlib.metadata.version("onnxruntime")
    if f"onnxruntime {version}," not in SUPPORT[place].source:
        pytest.skip(f"the table is of another onnxruntime than {version}")
    folder = Path(onnxruntime.__file__).parent / "tools" / "mobile_helpers"
    rows = re.findall(r"^\|([\w.]+):(\w+)\|", (folder / LISTED[place]).read_text(), re.MULTILINE)
    spelled = {"Argmax": "ArgMax"}
    names = {
        spelled.get(name, name) if domain == "ai.onnx" else f"{domain}::{name}"
        for domain, name in rows
    }
    assert set(SUPPORT[place].operators) == names | UNLISTED[place]


def test_webnns_table_is_onnxruntime_webs_list():
    package = home() / "web" / "node_modules" / "onnxruntime-web"
    if not package.is_dir():
        pytest.skip("no onnxruntime-web here: lighttoken setup web")
    version = re.search(r'"version": "([^"]+)"', (package / "package.json").read_text()).group(1)
    if f"onnxruntime-web {version}," not in SUPPORT["webnn"].source:
        pytest.skip(f"the table is of another onnxruntime-web than {version}")
    text = (package / "docs" / "webnn-operators.md").read_text()
    names = {
        name if domain == "ai.onnx" else f"{domain}::{name}"
        for name, opsets in re.findall(r"^\| *(\w+) *\| ([^|]+)\|", text, re.MULTILINE)
        for domain in re.findall(r"([\w.]+)\(", opsets)
    }
    assert set(SUPPORT["webnn"].operators) == names


def test_a_prediction_is_plain_data(predicted):
    data = dataclasses.asdict(predicted("webnn", "float[4] x", "y = Relu(x)"))
    assert data["taken"] == {"Relu": 1}


def test_the_page_says_what_the_tables_say():
    from tests.contract.providers_page import FILE, page

    assert FILE.read_text(encoding="utf-8") == page(), "run python -m tests.contract.providers_page"

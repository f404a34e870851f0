"""A model whose names are markup, control characters and ends of code, through the verbs."""

import ast
import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

NAME = "[red]t[/] [/x] [link=http://e]\x1b[31m\x07\r\n```\u202e\"'|`"
SHOWN = "[red]t[/] [/x] [link=http://e]\\x1b[31m\\x07\\r\\n```\\u202e\"'|`"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Ids in, rows out; every name is :data:`NAME` and a word."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((400, 32)).astype(np.float32)
    ids = helper.make_tensor_value_info(f"{NAME}ids", TensorProto.INT64, ["batch", "tokens"])
    out = helper.make_tensor_value_info(f"{NAME}out", TensorProto.FLOAT, None)
    node = helper.make_node("Gather", [f"{NAME}table", ids.name], [out.name], name=f"{NAME}node")
    graph = helper.make_graph(
        [node], f"{NAME}graph", [ids], [out], [numpy_helper.from_array(rows, f"{NAME}table")]
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path_factory.mktemp("hostile") / "model.onnx"
    onnx.save(proto, path)
    return path


def shown_only(text: str) -> None:
    assert text.replace("\n", "").isprintable(), ascii(text)


def test_inspect(lighttoken, model):
    outcome = lighttoken("inspect", model)
    assert outcome.code == 0
    assert SHOWN[:40] in outcome.out
    shown_only(outcome.out)


def test_export_run_and_their_errors(lighttoken, model, tmp_path):
    outcome = lighttoken("export", model, tmp_path / "out", "--ratio", 4)
    shown_only(outcome.out + outcome.err)
    assert outcome.code == 0, outcome.err
    card = (tmp_path / "out" / "README.md").read_text()
    shown_only(card)
    for program in re.findall(r"^```python\n(.*?)\n```$", card, re.DOTALL | re.MULTILINE):
        ast.parse(program)
    again = lighttoken("inspect", tmp_path / "out")
    assert again.code == 0
    shown_only(again.out)
    told = lighttoken("run", tmp_path / "out", "text")
    assert told.code == 2
    shown_only(told.err)


def test_a_table_that_is_not_there(fails, model, tmp_path):
    line = fails("export", model, tmp_path / "out", "--table", f"{NAME}other")
    assert "[red]t[/] [/x]" in line
    shown_only(line)


@pytest.mark.parametrize(
    "arguments",
    [("inspect", "[red]\x1b]0;x\x07.onnx"), ("frob\x1b[31m",), ("doctor", "--no\x1b[31m"),
     ("run", "\x1b[31m", "x"), ("export", "m", "o", "--target", "\x1b[31m"),
     ("evaluate", "\u202em", "--text", "\x9b31m"), ("serve", "\x1b[31m"),
     ("op", "--target", "\x07")],
)  # fmt: skip
def test_what_was_asked_for_in_error_lines(fails, arguments):
    shown_only(fails(*arguments))

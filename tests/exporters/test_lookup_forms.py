"""Every form of a look-up in an .onnx file is found, packed and right, or refused in one line: the
second table of docs/coverage.md."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from exporters import export
from toolkit import Budget
from toolkit.errors import InputError
from toolkit.graph.forms import constant
from toolkit.graph.rows import packed_rows

from .lookup_forms import CONSTANT, FORMS, HEADS, LOGITS, SIGNATURE, TABLE, Form, logits_of, rows_of

PAGE = Path(__file__).parents[2] / "docs" / "coverage.md"
OPSETS = '"" : 21, "com.microsoft" : 1, "ai.onnx.ml" : 3, "nn" : 1'


def of_head(form: Form) -> Form:
    """A form whose output is logits."""
    signature = LOGITS if form.signature is SIGNATURE else form.signature
    wanted = logits_of if form.made is rows_of else form.made
    return replace(form, made=wanted, heads=1, signature=signature)


CASES = [of_head(form) if form.kind == HEADS else form for form in FORMS]


def save(form: Form, path: Path) -> None:
    """The form as an .onnx file."""
    header = f"<ir_version: 10, opset_import: [{OPSETS}]>"
    model = onnx.parser.parse_model(
        f"{header} main {form.signature} {{{form.body}}} {form.functions}"
    )
    tensors = dict(form.tensors)
    if "w" in re.findall(r"\w+", form.body):
        tensors.setdefault("w", TABLE)
    for name, array in tensors.items():
        if name == CONSTANT:
            held = onnx.numpy_helper.from_array(array, name)
            model.graph.node.insert(0, onnx.helper.make_node("Constant", [], [name], value=held))
        else:
            tensor = ir.tensor(np.asarray(array), name=name)
            model.graph.initializer.append(ir.to_proto(tensor))
    onnx.save(model, path)


def largest(path: Path) -> int:
    """Numbers in the largest constant of a file, wherever it stands."""
    model = ir.load(path)
    graphs = [model.graph, *model.graph.subgraphs()]
    values = [value for graph in graphs for value in graph.initializers.values()]
    nodes = [*model.graph.all_nodes()]
    for function in model.functions.values():
        nodes += function.all_nodes()
    values += [node.outputs[0] for node in nodes if node.op_type == "Constant"]
    return max(0 if tensor is None else tensor.size for tensor in map(constant, values))


def name_of(form: Form) -> str:
    """For pytest."""
    return f"{form.kind}-{form.name}".replace(" ", "-")


@pytest.mark.parametrize("form", CASES, ids=name_of)
def test_a_form_exports(form, quick, run_model, tmp_path, record_property):
    for name in ("kind", "name", "refused"):
        record_property(name, getattr(form, name))
    (tmp_path / "source").mkdir()
    source, out = tmp_path / "source" / "model.onnx", tmp_path / "out"
    save(form, source)
    ids = next(iter(form.feeds.values()))
    (before,) = run_model(source, **form.feeds)
    dense = [form.values] if form.second is None else [form.values, form.second]
    check_close(before, made(form, dense, ids), form.close)  # the form is what it says
    options = quick(all_tables=form.second is not None)
    if form.refused:
        with pytest.raises(InputError, match=re.escape(form.refused)) as error:
            export(str(source), out, Budget(ratio=6), options=options)
        assert "\n" not in str(error.value)
        assert not out.exists()
        return
    manifest = export(str(source), out, Budget(ratio=6), options=options)
    packed = out / "model.onnx"
    assert [(table.rows, table.width) for table in manifest.tables] == [t.shape for t in dense]
    assert (manifest.packed_heads, manifest.tied_head) == (form.heads, False)
    assert largest(packed) < 0.9 * form.values.size  # signs of a table are numbers too
    assert manifest.footprint.ratio >= 6
    decoded = [packed_rows(packed, len(table)) for table in dense]
    assert all(np.abs(a - b).max() > 0.01 for a, b in zip(decoded, dense, strict=True))
    (after,) = run_model(packed, **form.feeds)
    assert after.dtype == before.dtype
    check_close(after, made(form, decoded, ids), form.close)
    record_property("rewrite", manifest.parity.rewrite)
    record_property("table", manifest.footprint.ratio)
    record_property("stored", "; ".join(table.form for table in manifest.tables))
    record_property("head", "packed" if manifest.packed_heads else "none")


def made(form, tables, ids):
    """The form's output, by numpy."""
    return form.made(tables[0], ids, *tables[1:])


def check_close(got, wanted, close):
    assert got.shape == wanted.shape
    scale = max(1.0, np.abs(wanted).max())
    np.testing.assert_allclose(got.astype(np.float32), wanted, rtol=0, atol=close * scale)


def test_the_page_lists_exactly_these_forms():
    part = PAGE.read_text(encoding="utf-8").split("## Forms of a look-up")[1]
    part = part.split("## Real checkpoints")[0]
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|", part, re.MULTILINE)
    known = [(form.kind, form.name) for form in CASES]
    assert [row for row in rows if row[0] != "what varies"] == known, "run `make coverage`"


def test_each_form_is_tried_once():
    assert len({name_of(form) for form in CASES}) == len(CASES)

"""Where tensors say that their values are: checked before anything reads them there."""

import os

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.external_data_helper import set_external_data

from toolkit.errors import FormatError, InputError
from toolkit.graph.files import load_proto, model_files
from toolkit.graph.load import load_graph

TABLE = np.random.default_rng(0).normal(size=(300, 6)).astype(np.float32)
DATA = "model.onnx_data"


@pytest.fixture
def model(graph, tmp_path):
    path = tmp_path / "model" / "model.onnx"
    path.parent.mkdir()
    built = graph("(int64[b,s] input_ids) => (float[b,s,6] y)", "y = Gather(t, input_ids)", t=TABLE)
    ir.save(built, path, external_data=DATA)
    return path


def change(path, act):
    """Let ``act`` change the table's tensor, as it is in the file."""
    proto = onnx.load(path, load_external_data=False)
    act(next(tensor for tensor in proto.graph.initializer if tensor.name == "t"))
    path.write_bytes(proto.SerializeToString())


def place(**told):
    def act(tensor):
        known = {entry.key: entry.value for entry in tensor.external_data} | told
        del tensor.external_data[:]
        for key, value in known.items():
            tensor.external_data.add(key=key, value=value)

    return act


def dims(*sizes):
    def act(tensor):
        del tensor.dims[:]
        tensor.dims.extend(sizes)

    return act


def in_the_file(count):
    def act(tensor):
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
        tensor.raw_data = b"\0" * count

    return act


WHOLE = TABLE.nbytes


def test_what_fits_is_read(model):
    assert load_proto(model).graph.initializer
    np.testing.assert_array_equal(
        load_graph(model).graph.initializers["t"].const_value.numpy(), TABLE
    )


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (place(location="../secret"), "names the file '../secret', outside of the model's folder"),
        (place(location="/etc/passwd"), "outside of the model's folder"),
        (place(location="a\\b"), "outside of the model's folder"),
        (place(location="a\0b"), "outside of the model's folder"),
        (place(location=""), "names none"),
        (place(location="."), "outside of the model's folder"),
        (place(offset="-1"), "has offset '-1', which is no number of bytes"),
        (place(offset="abc"), "has offset 'abc'"),
        (place(offset="1e3"), "has offset '1e3'"),
        (place(offset="9" * 30), "has a offset beyond any file"),
        (place(offset=str(2**63 - 1)), "ends at byte"),
        (place(offset=str(WHOLE)), f"ends at byte {2 * WHOLE:,}, and {DATA} is too short"),
        (place(length="-4"), "has length '-4'"),
        (place(length="4"), f"should have {WHOLE:,} bytes, its length is 4"),
        (dims(-1, 6), r"has sizes \[-1, 6\]"),
        (dims(2**60, 6), "which no machine holds"),
        (dims(2**31, 2**31, 2**31), "which no machine holds"),
        (dims(300, 7), "should have 8,400 bytes"),
        (lambda tensor: setattr(tensor, "data_type", 99), "is of type 99, which ONNX does not"),
        (lambda tensor: setattr(tensor, "data_type", 0), "is of type 0"),
        (in_the_file(WHOLE - 1), f"should have {WHOLE:,} bytes, it has {WHOLE - 1:,}"),
        (in_the_file(WHOLE + 4), f"should have {WHOLE:,} bytes, it has {WHOLE + 4:,}"),
    ],
)
def test_what_cannot_be_is_one_line(model, act, message):
    change(model, act)
    for read, error in ((load_proto, FormatError), (model_files, FormatError)):
        with pytest.raises(error, match=message):
            read(model)
    with pytest.raises(InputError, match=message) as caught:
        load_graph(model)
    assert "\n" not in str(caught.value)
    assert "tensor 't'" in str(caught.value)


def test_in_the_file_is_read_too(model):
    change(model, in_the_file(WHOLE))
    assert not load_graph(model).graph.initializers["t"].const_value.numpy().any()


def test_a_link_out_of_the_folder_is_refused(model, tmp_path):
    data = model.with_name(DATA)
    data.rename(tmp_path / "private")
    data.symlink_to(tmp_path / "private")
    with pytest.raises(FormatError, match="a link that leads out of the model's folder; copy"):
        load_proto(model)


@pytest.mark.skipif(os.name == "nt", reason="no such devices")
def test_a_device_is_no_file(model):
    model.with_name(DATA).unlink()
    os.mkfifo(model.with_name(DATA))
    with pytest.raises(FormatError, match="which is no file"):
        load_proto(model)


def test_tensors_of_branches_and_attributes_count(graph, tmp_path):
    built = graph("(int64[s] x) => (float[s,6] y)", "c = Constant()\ny = Gather(c, x)")
    path = tmp_path / "model.onnx"
    ir.save(built, path)
    proto = onnx.load(path)
    tensor = onnx.numpy_helper.from_array(TABLE)
    set_external_data(tensor, "../secret")
    tensor.ClearField("raw_data")
    node = next(node for node in proto.graph.node if node.op_type == "Constant")
    node.attribute.append(onnx.helper.make_attribute("value", tensor))
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(FormatError, match=r"'c' names the file '\.\./secret'"):
        load_proto(path)

import numpy as np
import onnx
import onnx.inliner
import onnx.parser
import pytest
from onnx import numpy_helper

from exporters.ops.head import head_model
from exporters.ops.lookup import decode_model
from runtime.profile.layer import Layer, embedding_initializer_bytes, embedding_share, find_layer
from runtime.profile.placement.partitioned_graph import partitioned_graph, read_graph

HEADER = '<ir_version: 10, opset_import: ["" : 20, "com.microsoft" : 1]>'
TABLE = np.arange(40, dtype=np.float32).reshape(10, 4)
BYTES = TABLE.astype(np.uint8)


@pytest.fixture
def layer(tmp_path):
    """The layer of a graph, written as in onnx.parser, and its nodes' operators."""

    def build(inputs, body, ids_input=None, outputs="y", **tensors):
        model = onnx.parser.parse_model(f"{HEADER} g ({inputs}) => ({outputs}) {{ {body} }}")
        for name, array in tensors.items():
            model.graph.initializer.append(numpy_helper.from_array(array, name))
        for index, node in enumerate(model.graph.node):
            node.name = f"{node.op_type}_{index}"
        path = tmp_path / "model.onnx"
        onnx.save(model, path)
        return find_layer(read_graph(path).graph, ids_input)

    return build


@pytest.fixture
def save(tmp_path):
    def write(model):
        path = tmp_path / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return path

    return write


def test_rows_are_looked_up_by_ids_and_not_by_positions(layer):
    found = layer(
        "int64[b,4] input_ids, int64[b,4] position_ids",
        """rows = Gather(table, input_ids)
        places = Gather(positions, position_ids)
        y = Add(rows, places)""",
        table=TABLE,
        positions=TABLE,
    )
    assert found == Layer(frozenset({"Gather_0"}), frozenset({"table"}))


def test_the_callers_word_decides_on_the_ids(layer):
    inputs = "int64[b,4] tokens, int64[b,4] segments"
    body = """a = Gather(first, tokens)
        b = Gather(second, segments)
        y = Add(a, b)"""
    tensors = {"first": TABLE, "second": TABLE}
    assert layer(inputs, body, **tensors).tensors == {"first"}
    assert layer(inputs, body, "segments", **tensors).tensors == {"second"}


def test_ids_may_be_reshaped_and_cast_on_the_way(layer):
    found = layer(
        "int64[b,4] input_ids",
        """flat = Reshape(input_ids, all)
        short = Cast<to = 6>(flat)
        y = Gather(table, short)""",
        all=np.array([-1]),
        table=TABLE,
    )
    assert found.nodes == {"Reshape_0", "Cast_1", "Gather_2"}
    assert found.tensors == {"table"}  # the shape is no part of it


def test_what_leaves_the_graph_is_not_the_layers_alone(layer):
    found = layer(
        "int64[b,4] input_ids",
        """flat = Reshape(input_ids, all)
        y = Gather(table, flat)""",
        outputs="y, flat",
        all=np.array([-1]),
        table=TABLE,
    )
    assert found.nodes == {"Gather_1"}


def test_a_tables_shape_is_no_part_of_it(layer):
    found = layer(
        "int64[b,4] input_ids",
        """whole = Reshape(table, shape)
        y = Gather(whole, input_ids)""",
        table=TABLE,
        shape=np.array([20, 2]),
    )
    assert found == Layer(frozenset({"Reshape_0", "Gather_1"}), frozenset({"table"}))


def test_ids_that_are_computed_are_somebody_elses(layer):
    found = layer(
        "int64[b,4] input_ids",
        """next = CumSum(input_ids, axis)
        y = Gather(table, next)""",
        axis=np.array(1),
        table=TABLE,
    )
    assert found == Layer(frozenset(), frozenset())


@pytest.mark.parametrize(
    ("body", "nodes"),
    [
        (
            """whole = DequantizeLinear(table, scale, zero)
            y = Gather(whole, input_ids)""",
            {"DequantizeLinear_0", "Gather_1"},
        ),
        (
            """codes = Gather(table, input_ids)
            y = DequantizeLinear(codes, scale, zero)""",
            {"Gather_0", "DequantizeLinear_1"},
        ),
    ],
)
def test_a_quantised_tables_scales_are_its_own(layer, body, nodes):
    found = layer(
        "int64[b,4] input_ids",
        body,
        table=BYTES,
        scale=np.array(0.5, np.float32),
        zero=np.array(3, np.uint8),
    )
    assert found.nodes == nodes
    assert found.tensors == {"table", "scale", "zero"}


def test_blocks_of_four_bits_are_a_table(layer):
    found = layer(
        "int64[b,4] input_ids",
        """y = com.microsoft.GatherBlockQuantized<bits = 4, block_size = 16, quantize_axis = 1>(
            table, input_ids, scales)""",
        table=np.zeros((10, 8), np.uint8),
        scales=np.ones((10, 1), np.float32),
    )
    assert found.nodes == {"GatherBlockQuantized_0"}
    assert found.tensors == {"table", "scales"}


def test_a_head_that_shares_the_table_is_none_of_the_layer(layer):
    found = layer(
        "int64[b,4] input_ids",
        """rows = Gather(table, input_ids)
        turned = Transpose(table)
        y = MatMul(rows, turned)""",
        table=TABLE,
    )
    assert found.nodes == {"Gather_0"}


def test_a_decode_is_its_node_and_what_onnxruntime_inlines(save, small_embedding):
    path = save(decode_model(small_embedding))
    found = find_layer(read_graph(path).graph, "ids")
    assert found.tensors == set(read_graph(path).graph.initializers)
    with partitioned_graph(path) as graph:
        assert all(found.has(node.name, node.op_type) for node in graph)
        assert len(list(graph)) > 10
        assert embedding_initializer_bytes(graph, found) >= sum(
            value.const_value.nbytes
            for name, value in graph.initializers.items()
            if name in found.tensors
        )


def test_a_dissolved_decode_is_found_and_ends_with_its_rows(save, small_embedding):
    """As for targets that know no functions; positions, a norm and a mask come after."""
    model = onnx.inliner.inline_local_functions(decode_model(small_embedding))
    decode = {node.name for node in model.graph.node}
    assert len(decode) == len(model.graph.node) > 10
    extra = onnx.parser.parse_graph(
        """g () => () {
        here = Gather(positions, ids)
        both = Add(rows, here)
        normed = LayerNormalization<axis = -1>(both, weight)
        product = MatMul(rows, square)
        powers = Pow(rows, two)
        pad = Equal(ids, zero)
        hidden = Not(pad)
        }"""
    )
    for node in extra.node:
        node.name = f"later_{node.op_type}"
        model.graph.node.append(node)
    width = small_embedding.width
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.ones((900, width), np.int8), "unused"),
            numpy_helper.from_array(np.ones(width, np.float32), "weight"),
            numpy_helper.from_array(np.ones((width, width), np.float32), "square"),
            numpy_helper.from_array(np.array(0), "zero"),
            numpy_helper.from_array(np.array(2, np.float32), "two"),
        ]
    )
    model.graph.input.extend(
        [onnx.helper.make_tensor_value_info("positions", onnx.TensorProto.FLOAT, [900, width])]
    )
    found = find_layer(read_graph(save(model)).graph, "ids")
    assert found.nodes == decode
    assert {"stages.0.codes", "mean"} <= found.tensors
    assert not found.tensors & {"unused", "weight", "square", "zero"}


def test_a_packed_head_is_none_of_the_layer(save, small_embedding):
    found = find_layer(read_graph(save(head_model(small_embedding))).graph)
    assert found == Layer(frozenset(), frozenset())


def test_a_share_is_that_of_the_layers_nodes():
    layer = Layer(frozenset({"look"}), frozenset())
    cpu = "CPUExecutionProvider"
    rows = [[cpu, "Gather", "look", 30.0], [cpu, "MatMul", "product", 70.0]]
    assert embedding_share(rows, layer) == pytest.approx(0.3)
    inlined = [[cpu, "Cast", "_inlfunc_CompressedEmbedding_Cast_node_3", 10.0], rows[1]]
    assert embedding_share(inlined, layer) == pytest.approx(0.125)
    native = [[cpu, "CompressedEmbedding", "node_7", 70.0], rows[1]]
    assert embedding_share(native, layer) == pytest.approx(0.5)
    assert embedding_share(rows[1:], layer) is None
    assert embedding_share([], layer) is None
    whole = ["QNNExecutionProvider", "QNNExecutionProvider_13826422419630346919_2", "q_0", 900.0]
    assert embedding_share([*rows, whole], layer) is None  # who knows what is in it


def test_initialisers_that_others_read_too_are_not_counted_but_for_tables(tmp_path):
    model = onnx.parser.parse_model(
        f"""{HEADER} g (int64[b,4] input_ids) => (float[b,4,10] y) {{
        rows = Gather(table, input_ids)
        turned = Transpose(table)
        y = MatMul(rows, turned) }}"""
    )
    model.graph.initializer.append(numpy_helper.from_array(TABLE, "table"))
    for node in model.graph.node:
        node.name = node.op_type
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    graph = read_graph(path).graph
    found = find_layer(graph)
    assert embedding_initializer_bytes(graph, found) == TABLE.nbytes
    with partitioned_graph(path) as optimised:  # the turned table is a constant of its own there
        assert embedding_initializer_bytes(optimised, found) == TABLE.nbytes

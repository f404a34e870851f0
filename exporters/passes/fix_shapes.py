"""Inputs of fixed shapes, for targets that compile nothing else."""

import onnx_ir as ir

from toolkit.errors import InputError

from .base import Pass


class FixShapes(Pass):
    """Give every input of a graph ``batch`` texts of ``sequence`` tokens.

    onnxruntime computes what follows from that when it loads the model.
    """

    def __init__(self, batch: int, sequence: int) -> None:
        super().__init__()
        self.sizes = (batch, sequence)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite ``model`` in place.

        Raises:
            InputError: an input is not [batch, sequence], or is fixed to another size already.
        """
        sizes: dict[str, int] = {}
        modified = False
        for value in model.graph.inputs:
            shape = value.shape
            if shape is None or len(shape) != len(self.sizes):
                raise InputError(
                    f"input {value.name} has shape {shape}; only inputs of [batch, sequence] can "
                    "be fixed: leave --batch and --sequence out"
                )
            for wanted, size in zip(self.sizes, shape, strict=True):
                if isinstance(size, int) and size != wanted:
                    raise InputError(
                        f"input {value.name} takes {list(shape)}, asked for {list(self.sizes)}; "
                        "use its own sizes"
                    )
                sizes |= {} if isinstance(size, int) else {str(size): wanted}
            modified = modified or list(shape) != list(self.sizes)
            value.shape = ir.Shape(self.sizes)
        for node in model.graph.all_nodes():
            for value in node.outputs:
                if value.shape is not None:
                    value.shape = ir.Shape(
                        [
                            size if isinstance(size, int) else sizes.get(str(size), str(size))
                            for size in value.shape
                        ]
                    )
        return ir.passes.PassResult(model, modified=modified)

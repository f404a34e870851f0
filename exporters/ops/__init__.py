"""The graphs of the two packed operators, in standard ONNX operators."""

"""A model in, a bundle out: export to ONNX, rewrite the table, check, write."""

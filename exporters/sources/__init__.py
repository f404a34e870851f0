"""What a user gives (hub id, folder, .onnx) as an ONNX model, and what is known about it."""

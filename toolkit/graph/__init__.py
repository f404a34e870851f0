"""The one reader of ONNX graphs:
forms of stored tables, look-ups by ids, output heads, the operators' contract.
"""

"""Pipelines: texts in; vectors, tokens, labels or answers out."""

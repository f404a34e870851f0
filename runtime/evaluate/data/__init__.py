"""Readers of evaluation files."""

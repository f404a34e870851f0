"""Measuring: which processes are started for what, in which order."""

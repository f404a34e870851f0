"""A program that measures a model where there is no Python: phones, boards.

``runner.cc`` and its headers are built with CMake; onnxruntime is loaded when it runs. It reads a
job as :mod:`.job_file` writes it, and prints an answer as :mod:`runtime.profile.measure.job` has
it.
"""

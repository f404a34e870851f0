"""What a model costs: bytes, memory and time, each measured in a process of its own.

Start at :func:`runtime.profile.measure.profile`. Nothing is imported here, because the measuring
process passes through this file and must stay as small as it can.
"""

"""The measuring process: a JSON job on stdin, JSON lines on stdout.

    echo JOB | python -m runtime.profile.measure.worker

A line is ``{"mark": [t, stage]}`` as a stage ends, and the last one ``{"answer": {...}}`` or
``{"error": text}``, with exit status 1; :mod:`runtime.profile.measure.job` says what is in them.

It runs in whatever Python has numpy and an onnxruntime since 1.20: this one, another one's, or one
on a device. So it imports nothing else but what :mod:`runtime.profile.measure.carry` lists.
"""

"""What models cost, place by place: bytes, memory, time, and where their nodes run.

Start at :func:`.measure.rounds.profile`. Processes that measure run :mod:`.measure.worker` from a
folder of its own (:mod:`.measure.carry`), so that nothing of LightToken is counted as the model's.
"""

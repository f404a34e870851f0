"""A job as the C++ runner reads it: lines «key=value»; ``job.h`` is the reader."""

from toolkit.errors import InputError

from ...profile.measure.job import Job

MEASURES = ("values", "time", "cold", "memory")
"""What the runner can be asked for."""

_SHORT = {
    "CPUExecutionProvider": "",
    "XnnpackExecutionProvider": "XNNPACK",
    "NnapiExecutionProvider": "NNAPI",
    "QNNExecutionProvider": "QNN",
}


def job_file(job: Job) -> str:
    """The file's text; it ends with a line break.

    Raises:
        InputError: a measure that the runner does not have, or a line break in a name.
    """
    if job.measure not in MEASURES:
        raise InputError(
            f"measure {job.measure!r} is not for devices; choose one of {', '.join(MEASURES)}"
        )
    provider = _SHORT.get(job.provider, job.provider.removesuffix("ExecutionProvider"))
    lines = [
        ("measure", job.measure),
        ("model", job.model),
        *(("data", name) for name in job.data),
        ("provider", provider),
        *(("setting", f"{key}={value}") for key, value in job.settings.items()),
        ("library", job.library),
        ("threads", job.threads),
        ("load", job.load),
        *(("dimension", f"{name}={size}") for name, size in job.dimensions.items()),
        *(("grid", f"{batch}x{length}") for batch, length in job.grid),
        ("runs", job.runs),
        ("warmup", job.warmup),
        ("ids_input", job.ids_input),
        ("rows", job.rows),
        ("seed", job.seed),
        *(("ids", " ".join(map(str, row))) for row in job.ids),
        *([("stream", " ".join(map(str, job.stream)))] if job.stream else ()),
    ]
    for key, value in lines:
        if any(mark in str(value) for mark in "\r\n"):
            raise InputError(f"{key} {value!r} has a line break; rename it")
    return "".join(f"{key}={value}\n" for key, value in lines)

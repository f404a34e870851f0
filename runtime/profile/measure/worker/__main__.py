"""Read the job, measure, answer."""

import json
import sys
from typing import Any

from toolkit.errors import LightTokenError
from toolkit.ort import ORT_ERRORS, one_line

from ..job import Job
from . import memory_job, places_job, time_job, values_job, write_job

MEASURES = {
    "values": values_job.measure,
    "time": time_job.measure,
    "cold": time_job.measure_load,
    "write": write_job.measure,
    "memory": memory_job.measure,
    "places": places_job.measure,
}


def main() -> int:
    """Answer one job; the exit status."""
    job = Job.from_dict(json.loads(sys.stdin.read()))
    try:
        answer = MEASURES[job.measure](job)
    except LightTokenError as error:
        say({"error": str(error)})
    except ORT_ERRORS as error:
        say({"error": f"{job.model}: {one_line(error)}"})
    except MemoryError:
        say({"error": f"{job.model}: no memory left; close other programs"})
    else:
        say({"answer": answer})
        return 0
    return 1


def say(line: dict[str, Any]) -> None:
    """One line to whoever started this."""
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    sys.exit(main())

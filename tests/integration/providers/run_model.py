"""Runs a model on one execution provider, with whatever onnxruntime there is.

    python run_model.py PROVIDER MODEL FOLDER

PROVIDER is "xnnpack" or "qnn"; FOLDER has the inputs in ``feeds.npz``. Into it go ``outputs.npz``
and ``placed.json``: how many nodes of which operator each provider took. Needs nothing but numpy
and onnxruntime, of any version since 1.20.
"""

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime as ort

CPU = "CPUExecutionProvider"
# A Snapdragon 8 Gen 3. For the chip that the emulator takes by itself, an encoder does not compile:
# QNN_COMMON_ERROR_MEM_ALLOC.
QNN_CHIP = "57"


def open_xnnpack(model, options):
    providers = ["XnnpackExecutionProvider", CPU]
    assert providers[0] in ort.get_available_providers()
    return ort.InferenceSession(model, options, providers=providers)


def open_qnn(model, options):
    import onnxruntime_qnn as qnn

    ort.register_execution_provider_library(qnn.get_ep_name(), qnn.get_library_path())
    devices = [device for device in ort.get_ep_devices() if device.ep_name == qnn.get_ep_name()]
    settings = {"backend_path": qnn.get_qnn_htp_path(), "soc_model": QNN_CHIP}
    options.add_provider_for_devices(devices, settings)
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return ort.InferenceSession(model, options)


def placed_by_assignment(session):
    """A provider that compiles shows one node for many in a profile; this counts the many."""
    placed = {}
    for part in session.get_provider_graph_assignment_info():
        operators = [node.op_type for node in part.get_nodes()]
        placed.setdefault(part.ep_name, Counter()).update(operators)
    return placed


def placed_by_profile(session):
    """For an onnxruntime that has no other way to say it."""
    placed = {}
    for event in json.loads(Path(session.end_profiling()).read_text()):
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            told = event["args"]
            placed.setdefault(told["provider"], Counter()).update([told["op_name"]])
    return placed


def main(provider, model, folder):
    folder = Path(folder)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_profiling = provider == "xnnpack"
    options.profile_file_prefix = str(folder / "profile")
    session = {"xnnpack": open_xnnpack, "qnn": open_qnn}[provider](model, options)
    with np.load(folder / "feeds.npz") as feeds:
        values = session.run(None, dict(feeds))
    names = [output.name for output in session.get_outputs()]
    np.savez(folder / "outputs.npz", **dict(zip(names, values, strict=True)))
    placed = placed_by_profile if options.enable_profiling else placed_by_assignment
    (folder / "placed.json").write_text(json.dumps(placed(session)))


if __name__ == "__main__":
    main(*sys.argv[1:])

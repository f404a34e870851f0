"""onnxruntime's telemetry is off: importing this module, before onnxruntime, sees to it.

Since 1.31 its packages for Linux and macOS report to Microsoft and keep a database of the device in
the user's cache folder, unless ``ORT_DISABLE_TELEMETRY`` is set when they are imported. Whoever
wants it sets the variable to 0.
"""

import os

VARIABLE = "ORT_DISABLE_TELEMETRY"

os.environ.setdefault(VARIABLE, "1")

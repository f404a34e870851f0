#!/bin/sh
# Measures the model beside it and writes results.json: sh run.sh
#
# With PYTHON, else python3. A Python without numpy or onnxruntime gets them in venv/, beside this.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}

fail() {
  echo "run.sh: $1" >&2
  exit 1
}

command -v "$python" > /dev/null || fail "$python is not here; install Python 3.11 or newer"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
  || fail "$python is older than 3.11; name a newer one in PYTHON"
if ! "$python" -c 'import numpy, onnxruntime' 2> /dev/null; then
  if [ ! -x "$here/venv/bin/python" ]; then
    "$python" -m venv "$here/venv" || fail "$python cannot make an environment; install python3-venv"
  fi
  python=$here/venv/bin/python
  "$python" -m pip install --quiet --disable-pip-version-check numpy onnxruntime \
    || fail "pip cannot install numpy and onnxruntime; check the network"
fi
LIGHTTOKEN_PYTHON=$python exec "$python" "$here/measure_here.py"

#!/bin/sh
# setup.sh PYTHON BIN OUT [FLAGS of pip]: an environment OUT on top of the one with BIN, with Olive.
set -eu
python=$1 bin=$2 out=$3
shift 3
trap 'rm -rf "$out.new"' EXIT
rm -rf "$out.new"
"$python" -m venv "$out.new"
packages='import sysconfig; print(sysconfig.get_path("purelib"))'
"$bin/python" -c "$packages" > "$("$out.new/bin/python" -c "$packages")/lighttoken.pth"
"$out.new/bin/python" -m pip install -qq --disable-pip-version-check "$@" olive-ai
mv "$out.new" "$out"

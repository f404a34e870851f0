#!/bin/sh
# Brings onnxruntime's C and C++ headers to the folder FOLDER: sh headers.sh FOLDER
#
# From Debian's libonnxruntime-dev, by apt and the mirror that this machine uses; nothing is
# installed. Elsewhere unpack the headers of any onnxruntime release, 1.20 or newer, by hand.
set -eu

folder=${1:?usage: headers.sh FOLDER}
for tool in apt-get dpkg-deb; do
  command -v "$tool" >/dev/null || {
    echo "headers.sh needs $tool; give the folder of onnxruntime_cxx_api.h yourself" >&2
    exit 1
  }
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"

mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 '/debian/$') || {
  echo "apt knows no Debian mirror here; run apt-get update first" >&2
  exit 1
}
for suite in sid trixie; do
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" \
    > "$work/sources.list"
  set -- -qq -o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root
  if apt-get "$@" update && (cd "$work" && apt-get "$@" download libonnxruntime-dev); then
    break
  fi
done
dpkg-deb -x "$work"/libonnxruntime-dev_*.deb "$work/unpacked"
mkdir -p "$folder"
cp "$work"/unpacked/usr/include/onnxruntime/*.h "$folder/"

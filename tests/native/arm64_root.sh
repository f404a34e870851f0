#!/bin/sh
# Makes FOLDER, in which an aarch64 Python with numpy and onnxruntime lies: sh arm64_root.sh FOLDER
#
# From Debian bookworm's arm64 packages, by apt and the mirror that this machine uses, and from
# wheels, by pip. Nothing is installed. A folder that is there stays: remove it to make it anew.
# Run with: qemu-aarch64-static -L FOLDER FOLDER/usr/bin/python3.11
set -eu

folder=${1:?usage: arm64_root.sh FOLDER}
folder=${folder%/}
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}

fail() {
  echo "arm64_root.sh: $1" >&2
  exit 1
}

# The packages of an interpreter, and of what its modules and the wheels are linked with.
debs="libc6 libgcc-s1 libstdc++6 zlib1g libexpat1 libffi8 libbz2-1.0 liblzma5 libssl3
  libpython3.11-minimal libpython3.11-stdlib python3.11-minimal"

[ ! -e "$folder/usr/bin/python3.11" ] || exit 0
for tool in apt-get dpkg-deb "$python"; do
  command -v "$tool" > /dev/null || fail "$tool is missing"
done
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 '/debian/$') \
  || fail "apt knows no Debian mirror here; run apt-get update first"

mkdir -p "$(dirname "$folder")"
work=$(mktemp -d "$folder.XXXXXX")  # beside it: what is whole is renamed
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/debs" "$work/wheels"
work=$(cd "$work" && pwd)
: > "$work/status"  # of a machine on which nothing is installed
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror bookworm main" \
  > "$work/sources.list"

apt() {
  apt-get -qq -o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o "Dir::State::Lists=$work/lists" -o "Dir::State::Status=$work/status" \
    -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root \
    -o APT::Architecture=arm64 -o APT::Architectures=arm64 "$@"
}
apt update || fail "apt cannot read the lists of arm64 packages"
# shellcheck disable=SC2086  # a list of words
(cd "$work/debs" && apt download $debs) || fail "apt cannot download the arm64 packages"
mkdir "$work/root"
for deb in "$work"/debs/*.deb; do
  dpkg-deb -x "$deb" "$work/root"
done

# Of the versions that this repository is tested with.
"$python" -m pip download -qq --disable-pip-version-check --no-deps --only-binary=:all: \
  --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 \
  --platform manylinux2014_aarch64 --python-version 3.11 --implementation cp --abi cp311 \
  -c "$here/../../constraints.txt" -d "$work/wheels" numpy onnxruntime \
  || fail "pip cannot download the aarch64 wheels"
for wheel in "$work"/wheels/*.whl; do
  "$python" -m zipfile -e "$wheel" "$work/root/usr/local/lib/python3.11/dist-packages"
done

# onnxruntime reads what processors there are, and crashes where these files speak of other ones
# than 64-bit ARM. qemu looks for every file in the root first, so it finds one Cortex-A53 there;
# what instructions there are it learns from qemu.
mkdir -p "$work/root/proc" "$work/root/sys/devices/system/cpu"
printf '%s\n' 'processor : 0' 'CPU implementer : 0x41' 'CPU architecture: 8' \
  'CPU variant : 0x0' 'CPU part : 0xd03' 'CPU revision : 4' > "$work/root/proc/cpuinfo"
for file in possible present; do
  echo 0 > "$work/root/sys/devices/system/cpu/$file"
done

rm -rf "$folder"
mv "$work/root" "$folder"

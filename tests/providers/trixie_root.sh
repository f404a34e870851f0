#!/bin/sh
# Makes FOLDER with Debian trixie's Python and onnxruntime, FOLDER/python: sh trixie_root.sh FOLDER
#
# That onnxruntime is built with XNNPACK, PyPI's is not. From Debian's packages, by apt and the
# mirror that this machine uses. Nothing is installed, no package's own script runs, and nobody has
# to be root. A folder that is there stays: remove it to make it anew.
set -eu

folder=${1:?usage: trixie_root.sh FOLDER}
folder=${folder%/}

fail() {
  echo "trixie_root.sh: $1" >&2
  exit 1
}

[ ! -e "$folder/python" ] || exit 0
for tool in apt-get dpkg-deb; do
  command -v "$tool" > /dev/null || fail "$tool is missing"
done
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 '/debian/$') \
  || fail "apt knows no Debian mirror here; run apt-get update first"

mkdir -p "$(dirname "$folder")"
work=$(mktemp -d "$folder.XXXXXX")  # beside it: what is whole is renamed
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
work=$(cd "$work" && pwd)
: > "$work/status"  # of a machine on which nothing is installed
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" \
  > "$work/sources.list"

apt() {
  apt-get -qq -o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o "Dir::State::Lists=$work/lists" -o "Dir::State::Status=$work/status" \
    -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root "$@"
}
apt update || fail "apt cannot read trixie's lists of packages"
apt install --yes --download-only --no-install-recommends python3-onnxruntime \
  || fail "apt cannot download trixie's packages"
mkdir "$work/root"
for deb in "$work"/cache/archives/*.deb; do
  dpkg-deb -x "$deb" "$work/root"
done

# By its own loader and C library, whatever this machine's are. BLAS and LAPACK, which a package's
# script would have linked, are found by path.
cat > "$work/root/python" << 'END'
#!/bin/sh
root=$(cd "$(dirname "$0")" && pwd)
for libraries in "$root"/usr/lib/*-linux-gnu*; do break; done
for loader in "$libraries"/ld-linux*.so.*; do break; done
PYTHONHOME=$root/usr PYTHONPATH='' PYTHONNOUSERSITE=1 PYTHONDONTWRITEBYTECODE=1 exec "$loader" \
  --library-path "$libraries:$libraries/blas:$libraries/lapack" "$root/usr/bin/python3" "$@"
END
chmod +x "$work/root/python"

rm -rf "$folder"
mv "$work/root" "$folder"

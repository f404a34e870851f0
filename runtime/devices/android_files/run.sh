#!/bin/sh
# Measures the model beside it on a phone and writes results.json: sh run.sh AAR...
#
# Builds the runner with the NDK of ANDROID_NDK_HOME, takes onnxruntime's library from the archives
# named, and talks to the phone with adb. What it puts on the phone it removes again.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
folder=${LIGHTTOKEN_DEVICE_FOLDER:-/data/local/tmp/lighttoken}  # on the phone

fail() {
  echo "run.sh: $1" >&2
  exit 1
}

[ $# -gt 0 ] || fail "give onnxruntime's archive for Android: sh run.sh onnxruntime-android-VERSION.aar"
for tool in adb cmake unzip; do
  command -v "$tool" > /dev/null || fail "$tool is not here; install it"
done
toolchain=${ANDROID_NDK_HOME:-}/build/cmake/android.toolchain.cmake
[ -f "$toolchain" ] || fail "no NDK in '${ANDROID_NDK_HOME:-}'; name its folder in ANDROID_NDK_HOME"
adb get-state > /dev/null 2>&1 || fail "adb sees no phone; plug it in and allow USB debugging"

ask() {
  adb shell "$1" < /dev/null | tr -d '\r'
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

abi=$(ask 'getprop ro.product.cpu.abi')
for archive in "$@"; do
  [ -f "$archive" ] || fail "$archive is not here; name the .aar file"
  unzip -q -o "$archive" "headers/*" "jni/$abi/*" -d "$work" 2> /dev/null || true  # not all have both
done
[ -f "$work/headers/onnxruntime_cxx_api.h" ] || fail "no headers of onnxruntime in $*; name its .aar"
[ -f "$work/jni/$abi/libonnxruntime.so" ] || fail "no libonnxruntime.so for '$abi' in $*"

cmake -S "$here/runner" -B "$work/build" "-DCMAKE_TOOLCHAIN_FILE=$toolchain" \
  "-DANDROID_ABI=$abi" -DANDROID_PLATFORM=android-24 "-DONNXRUNTIME_INCLUDE_DIR=$work/headers" \
  > "$work/log" 2>&1 || { cat "$work/log" >&2; fail "CMake cannot configure the runner"; }
cmake --build "$work/build" > "$work/log" 2>&1 || { cat "$work/log" >&2; fail "the build failed"; }

ask "rm -rf '$folder' && mkdir -p '$folder'" > /dev/null
trap 'rm -rf "$work"; adb shell "rm -rf '\''$folder'\''" < /dev/null > /dev/null 2>&1' EXIT
push() {
  adb push "$@" "$folder/" > /dev/null || fail "adb cannot copy $1 to $folder; is the phone full?"
}
push "$work/build/lighttoken_runner"
for library in "$work/jni/$abi"/*.so; do push "$library"; done
push "$here/bundle"
push "$here/jobs"
[ ! -d "$here/library" ] || push "$here/library"
ask "chmod 755 '$folder/lighttoken_runner' && mkdir '$folder/answers'" > /dev/null

# Qualcomm's libraries for its NPU are looked for where these two say.
start="cd '$folder' && export LD_LIBRARY_PATH='$folder' ADSP_LIBRARY_PATH='$folder' &&"
for job in "$here"/jobs/*.job; do
  name=$(basename "$job" .job)
  measure=${name#*-}
  echo "$name" >&2
  if [ "$measure" = cold ]; then
    told=$(ask "$start ./lighttoken_runner --drop $(cat "$here/files")")
    [ -z "$told" ] || fail "the phone does not drop files from its cache: $told"
  fi
  # Old versions of adb give no exit status on, so the answer itself is looked at.
  ask "$start ./lighttoken_runner ./libonnxruntime.so jobs/$name.job > answers/$name.json" > /dev/null
  adb pull "$folder/answers/$name.json" "$work/$name.json" > /dev/null || fail "$name: no answer"
  case $(cat "$work/$name.json") in
    '{"runtime"'*) ;;
    *) fail "$name: $(cat "$work/$name.json")" ;;
  esac
done

json() {  # a string, without what JSON would escape
  printf '"%s"' "$(printf '%s' "$1" | tr -d '\000-\037\\"')"
}
count() {
  case $1 in '' | *[!0-9]*) echo 0 ;; *) echo "$1" ;; esac
}
phone="$(ask 'getprop ro.product.manufacturer') $(ask 'getprop ro.product.model')"
phone="$phone, $(ask 'getprop ro.soc.model')"
kilobytes=$(ask "grep MemTotal /proc/meminfo" | tr -dc 0-9)
{
  printf '{"kind": "lighttoken device results", "schema": 1, "place": "android", "subject": '
  cat "$here/subject.json"
  printf ', "environment": {"system": '
  json "Android $(ask 'getprop ro.build.version.release')"
  printf ', "machine": '
  json "$phone"
  printf ', "cores": %s, "memory_bytes": %s}, "answers": [' \
    "$(count "$(ask nproc)")" "$(($(count "$kilobytes") * 1024))"
  comma=
  for job in "$here"/jobs/*.job; do
    name=$(basename "$job" .job)
    printf '%s{"measure": "%s", "answer": ' "$comma" "${name#*-}"
    cat "$work/$name.json"
    printf '}'
    comma=', '
  done
  printf ']}\n'
} > "$here/.results.json"
mv "$here/.results.json" "$here/results.json"
echo "wrote $here/results.json"

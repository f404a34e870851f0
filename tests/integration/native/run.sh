#!/bin/sh
# The kernel's tests: sanitizers on this machine, then, where there is a compiler for it and qemu,
# 64-bit ARM, with and without its dot product instructions. Usage: run.sh BUILD_FOLDER RUNS
set -eu
here=$(dirname "$0")
build=$1
runs=$2

cmake -S "$here" -B "$build/host" -DCMAKE_BUILD_TYPE=Release > /dev/null
cmake --build "$build/host" --parallel > /dev/null
if nm "$build/host/fuzz_kernels" | grep -q __sanitizer_cov_trace_pc_guard_init; then
  "$build/host/fuzz_kernels" "-runs=$runs" -seed=1 -verbosity=0 -len_control=0 -max_len=4000  # libFuzzer's own main
else
  "$build/host/fuzz_kernels" "$runs"
fi

for tool in aarch64-linux-gnu-g++ qemu-aarch64-static; do
  command -v "$tool" > /dev/null || {
    echo "skipped 64-bit ARM: $tool is missing"
    exit 0
  }
done
cmake -S "$here" -B "$build/aarch64" -DCMAKE_BUILD_TYPE=Release -DLIGHTTOKEN_SANITIZE=OFF \
  -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
  -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ -DCMAKE_EXE_LINKER_FLAGS=-static > /dev/null
cmake --build "$build/aarch64" --parallel > /dev/null
for processor in max cortex-a53; do  # the second has no dot product
  echo "64-bit ARM, $processor: $(qemu-aarch64-static -cpu $processor "$build/aarch64/fuzz_kernels" $((runs / 10)))"
done

#!/bin/sh
# The kernel's tests: sanitizers on this machine, then, where there is a compiler for it and qemu,
# 64-bit ARM, with and without its dot product instructions. Usage: run.sh BUILD_FOLDER RUNS
set -eu
targets=$(dirname "$0")/../../fuzz/native
build=$1
runs=$2

# Of inputs that are drawn, the same ones each time; `make fuzz` goes on from there.
cmake -S "$targets" -B "$build/host" -DCMAKE_BUILD_TYPE=Release -DLIGHTTOKEN_FUZZING_ENGINE=drawn \
  > /dev/null
cmake --build "$build/host" --parallel > /dev/null
echo "limits: $("$build/host/limits")"
for target in "$targets"/fuzz_*.cc; do
  target=$(basename "$target" .cc)
  echo "$target: $("$build/host/$target" "$runs")"
done

for tool in aarch64-linux-gnu-g++ qemu-aarch64-static; do
  command -v "$tool" > /dev/null || {
    echo "skipped 64-bit ARM: $tool is missing"
    exit 0
  }
done
cmake -S "$targets" -B "$build/aarch64" -DCMAKE_BUILD_TYPE=Release -DLIGHTTOKEN_SANITIZE=OFF \
  -DLIGHTTOKEN_FUZZING_ENGINE=drawn -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
  -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ -DCMAKE_EXE_LINKER_FLAGS=-static > /dev/null
cmake --build "$build/aarch64" --parallel > /dev/null
for processor in max cortex-a53; do  # the second has no dot product
  echo "64-bit ARM, $processor, limits: $(qemu-aarch64-static -cpu $processor "$build/aarch64/limits")"
  for target in "$targets"/fuzz_*.cc; do
    target=$(basename "$target" .cc)
    program="$build/aarch64/$target"
    echo "64-bit ARM, $processor, $target: $(qemu-aarch64-static -cpu $processor "$program" $((runs / 10)))"
  done
done

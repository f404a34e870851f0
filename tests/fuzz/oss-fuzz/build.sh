#!/bin/bash -eu
# OSS-Fuzz runs this in its container, in the project's folder, with CXX, CXXFLAGS,
# LIB_FUZZING_ENGINE, SANITIZER, WORK and OUT set. Targets and their seed corpora go to $OUT.

cmake -S tests/fuzz/native -B "$WORK/native" -DCMAKE_BUILD_TYPE=None -DLIGHTTOKEN_SANITIZE=OFF \
  "-DCMAKE_CXX_COMPILER=$CXX" "-DCMAKE_CXX_FLAGS=$CXXFLAGS" \
  "-DLIGHTTOKEN_FUZZING_ENGINE=$LIB_FUZZING_ENGINE"
cmake --build "$WORK/native" --parallel
for source in tests/fuzz/native/fuzz_*.cc; do
  cp "$WORK/native/$(basename "$source" .cc)" "$OUT/"
done

# Python targets load no native code of ours: one sanitizer is enough. `pip install .` would bring
# onnxruntime; what the two read with is less.
if [ "${SANITIZER:-address}" = address ] && command -v compile_python_fuzzer > /dev/null; then
  python3 -m pip install numpy safetensors msgspec
  for target in tests/fuzz/python/fuzz_*.py; do
    PYTHONPATH=$PWD compile_python_fuzzer "$target"
  done
fi
PYTHONPATH=$PWD python3 -m tests.fuzz.seeds "$OUT"

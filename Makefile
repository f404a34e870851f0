# Everything a developer runs; `make` alone lists it.
PYTHON ?= python3
PIP_FLAGS ?=
FUZZ_RUNS ?= 20000
FUZZ_CLI_RUNS ?= 10000
KILLS ?= 1000
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?=
ONNXRUNTIMES ?= 1.20.1 1.22.0
WORKERS ?= 2

BIN := .venv/bin
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help .venv docs demo op xnnpack qnn arm64 web test test-native fuzz test-arm64 test-olive wheels test-wheels test-versions test-matrix test-loads test-browser test-providers fuzz-cli kills attacks coverage check format clean

help:  ## list the targets
	@grep -hE '^[a-z0-9.-]+:.*  ## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9.-]+):.*  ## /\1|/' | \
		awk -F'|' '{ printf "  make %-14s %s\n", $$1, $$2 }'

.venv: $(INSTALLED)  ## create or refresh the virtual environment

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "LightToken needs Python 3.11 or newer, not '$(PYTHON)'; try make PYTHON=python3.11" >&2; exit 1; }
	@echo "Installing into .venv (some minutes the first time)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check $(PIP_FLAGS) \
		-c constraints.txt -e '.[dev]'
	@touch $@

demo: $(INSTALLED)  ## compress all-MiniLM-L6-v2 and run it
	@$(BIN)/lighttoken demo

op: $(INSTALLED)  ## build the native kernel (CMake, a C++17 compiler)
	@$(BIN)/lighttoken op

# Each worker computes on one thread; what took long, like an export, is made once for all of them.
test: $(INSTALLED)  ## run the tests, in WORKERS processes
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

test-native:  ## run the kernel's tests under sanitizers (CMake, a C++17 compiler)
	@sh tests/integration/native/run.sh build/native $(FUZZ_RUNS)

# Into an environment of its own goes what the two targets in Python read files with.
fuzz:  ## fuzz the kernel and the file loaders for FUZZ_SECONDS (CMake, clang)
	@test -d build/fuzz/python || { $(PYTHON) -m venv build/fuzz/python && \
		build/fuzz/python/bin/python -m pip install -qq --disable-pip-version-check $(PIP_FLAGS) \
		atheris numpy safetensors msgspec || \
		echo "no atheris for this Python" >&2; }
	@PYTHONPATH=. build/fuzz/python/bin/python -m tests.fuzz.run --seconds $(FUZZ_SECONDS) $(FUZZ_TARGETS)

# Of the NPU it is an emulator; XNNPACK is in no wheel, but in Debian trixie's package.
xnnpack: $(INSTALLED)  ## set up an onnxruntime with XNNPACK (apt)
qnn: $(INSTALLED)  ## set up the emulator of Qualcomm's NPU
arm64: $(INSTALLED)  ## set up an aarch64 Python for qemu (apt, qemu-user-static)
web: $(INSTALLED)  ## set up onnxruntime-web (npm)
xnnpack qnn arm64 web:
	@$(BIN)/lighttoken setup $@

fuzz-cli: $(INSTALLED)  ## run random command lines over damaged files, FUZZ_CLI_RUNS of them
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz.cli.run --runs $(FUZZ_CLI_RUNS)

kills: $(INSTALLED)  ## kill verbs at random moments, KILLS times, and look at what they leave
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz.cli.kills --runs $(KILLS)

attacks: $(INSTALLED)  ## try every known attack, and say of each whether it is held off
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.attacks.run

test-arm64: arm64  ## run the kernel in an aarch64 onnxruntime under qemu
	@$(BIN)/python -m pytest tests/integration/native/test_arm64.py -m slow -rs

# An environment on top of .venv: Olive's own packages come into it, all others are there.
test-olive: $(INSTALLED)  ## run the pass inside Olive
	@test -d build/olive || sh tests/integration/olive/setup.sh $(PYTHON) $(BIN) build/olive \
		$(PIP_FLAGS) -c constraints.txt
	@build/olive/bin/python -m pytest tests/integration/olive -rs

WHEELS := manylinux-x86_64 manylinux-aarch64 musllinux-x86_64 musllinux-aarch64 \
	macos-x86_64 macos-arm64 windows-x86_64 windows-arm64
WHEEL_TOOLS := build/wheels/tools/.installed

$(WHEEL_TOOLS):
	@$(PYTHON) -m venv build/wheels/tools
	@build/wheels/tools/bin/python -m pip install -qq --disable-pip-version-check $(PIP_FLAGS) \
		auditwheel build cmake hatchling lief pytest ziglang
	@touch $@

wheels: $(WHEEL_TOOLS)  ## build a wheel for each machine into dist/, and the sdist (pip, zig)
	@rm -rf dist
	@for target in $(WHEELS); do \
		PATH="$$PWD/build/wheels/tools/bin:$$PATH" LIGHTTOKEN_TARGET=$$target \
		build/wheels/tools/bin/python -m build --wheel --no-isolation || exit 1; \
	done
	@build/wheels/tools/bin/python -m build --sdist --no-isolation

test-wheels: wheels  ## look into the wheels, and run that of this machine
	@LIGHTTOKEN_WHEELS=dist PYTHONPATH=. build/wheels/tools/bin/python -m pytest tests/integration/wheels -rs -o addopts= \
		--noconftest --import-mode=importlib

test-versions: $(INSTALLED)  ## run the kernel in other versions of onnxruntime
	@for version in $(ONNXRUNTIMES); do \
		test -d build/onnxruntimes/$$version || $(BIN)/python -m pip install -qq \
			--disable-pip-version-check --no-deps --target build/onnxruntimes/$$version \
			onnxruntime==$$version || exit 1; \
	done
	@$(BIN)/python -m pytest tests/integration/native/test_versions.py -m slow -rs

# Beside what .venv has already: no second torch. npm's scripts would only fetch CUDA libraries.
# onnxruntime-genai brings an onnxruntime of its own, so it has an environment of its own; its
# builder, of a version that takes transformers 4, runs with what .venv has.
test-loads: $(INSTALLED)  ## open bundles with optimum, sentence-transformers, transformers.js, onnxruntime-genai
	@test -d build/loads/python/sentence_transformers || $(BIN)/python -m pip install -qq \
		--disable-pip-version-check --no-deps --target build/loads/python -c constraints.txt \
		sentence-transformers scikit-learn joblib threadpoolctl narwhals
	@test -d build/loads/genai || { $(PYTHON) -m venv build/loads/genai && \
		build/loads/genai/bin/python -m pip install -qq --disable-pip-version-check \
		onnxruntime-genai==0.18.0; }
	@test -d build/loads/genai-builder || $(BIN)/python -m pip install -qq \
		--disable-pip-version-check --no-deps --target build/loads/genai-builder \
		onnxruntime-genai==0.11.4
	@mkdir -p build/loads && cp tests/integration/loads/package.json build/loads/
	@if command -v npm > /dev/null; then \
		npm install --prefix build/loads --ignore-scripts --no-audit --no-fund --loglevel error; \
	else echo "no npm here, so transformers.js is left out; install node 20 or newer" >&2; fi
	@PYTHONPATH=build/loads/python $(BIN)/python -m pytest tests/integration/loads -v -rs

test-browser: web  ## run bundles in headless Chromium, on WASM and WebGPU
	@$(BIN)/python -m pytest tests/integration/browser -v -rs

test-providers: $(INSTALLED)  ## run bundles on Qualcomm's NPU emulator and on XNNPACK
	@$(BIN)/lighttoken setup qnn || echo "so QNN is left out" >&2
	@$(BIN)/lighttoken setup xnnpack || echo "so XNNPACK is left out" >&2
	@$(BIN)/python -m pytest tests/integration/providers -v -rs

test-matrix:  ## run the exporters' tests with transformers 4 and 5, each in its own environment
	@PYTHON=$(PYTHON) PIP_FLAGS="$(PIP_FLAGS)" sh tests/integration/matrix/run.sh build/matrix

# An environment of its own, without torch: docstrings need no more than what runs a bundle.
build/sphinx/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -m venv build/sphinx
	@build/sphinx/bin/python -m pip install -qq --disable-pip-version-check $(PIP_FLAGS) \
		-c constraints.txt -e '.[docs]'
	@touch $@

docs: build/sphinx/.installed  ## build the documentation as a site, build/docs/index.html
	@build/sphinx/bin/python -m sphinx -q -E -a -W --keep-going -c docs -d build/doctrees . build/docs
	@echo "wrote build/docs/index.html"

coverage: $(INSTALLED)  ## export every family of models and write docs/coverage.md
	@$(BIN)/python -m tests.contract.coverage_page

check: $(INSTALLED)  ## format, lint, types and tests
	@$(BIN)/ruff format --check
	@$(BIN)/ruff check
	@$(BIN)/mypy
	@$(MAKE) test

format: $(INSTALLED)  ## reformat and fix what can be fixed
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix

clean:  ## remove the virtual environment, caches and builds
	@rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

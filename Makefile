# Two commands on a fresh machine: `make demo` and `make test`. Everything lives in $(VENV).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Test processes side by side, each with its share of the cores, torch and a few networks: 2 to 3 GB.
JOBS ?= 2
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# A plain path instead of an import hook: editors and mypy follow it.
EDITABLE := --config-settings editable_mode=compat -e

.PHONY: demo test test-slow bench bench-results cuda docs rtx lint clean

demo: $(VENV)/.runtime
	mkdir -p demo
	$(BIN)/dfer-edge predict tests/assets/astronaut.mp4 --window 0.6 \
		--overlay demo/overlay.mp4 --plot demo/timeline.png --json demo/prediction.json
	@echo "wrote demo/overlay.mp4, demo/timeline.png, demo/prediction.json"

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow

# Speed regressions by ratio; for a machine that does nothing else.
bench: $(VENV)/.dev
	$(BIN)/python -m pytest bench/regression --benchmark-columns=min,median --benchmark-sort=name

# Everything under bench/results for this device, and what is made from it. MEDIA is a folder with labelled stills.
bench-results: $(VENV)/.dev
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m bench.publish $(if $(MEDIA),--data $(MEDIA)) $(if $(THREADS),--threads $(THREADS))

# dfer_edge._cuda, for the architectures that nvcc knows; needs no GPU.
cuda: $(VENV)/.dev
	$(BIN)/python csrc/build_cuda.py

# The site, into site/; a warning is an error.
docs: $(VENV)/.dev
	$(PIP) -c constraints.txt $(EDITABLE) ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# NVIDIA's own builder for the tests of the TensorRT engine: 95 MB under NVIDIA's licence, which is yours to accept.
rtx: $(VENV)/.dev
	$(PIP) -c constraints.txt $(EDITABLE) ".[tensorrt-rtx]"

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist demo site *.egg-info

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: pyproject.toml setup.py | $(VENV)/bin/python
	$(PIP) $(EDITABLE) ".[openvino,plots]"
	touch $@

# constraints.txt pins torch: an open range may pull gigabytes of another build.
$(VENV)/.dev: pyproject.toml setup.py constraints.txt | $(VENV)/bin/python
	$(PIP) -c constraints.txt $(EDITABLE) ".[dev]"
	touch $@

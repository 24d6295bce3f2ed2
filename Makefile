# Everything a newcomer needs: Python 3.11-3.13 with venv, and make.

PYTHON ?= python3
TORCH_INDEX ?=
JOBS ?= 2

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test check fix soak clean

help:  ## Tell what there is
	@echo "make <target> [PYTHON=python3.12] [JOBS=<tests at once>] [TORCH_INDEX=<url of a package index for torch>]"
	@echo
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 10

demo: $(INSTALLED)  ## Drive a robot, learn to drive another, drive it; leaves runs/demo/index.html
	@$(BIN)/wmrobot demo setup_s=$$(cat $(VENV)/setup_seconds)

test: $(INSTALLED)  ## Run all tests, the fast ones first
	$(BIN)/python -m pytest -m "not slow and not realtime" -n $(JOBS) --dist worksteal
	$(BIN)/python -m pytest -m "slow and not realtime" -n $(JOBS) --dist worksteal
	$(BIN)/python -m pytest -m realtime

check: $(INSTALLED)  ## Format, lint and types only
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

fix: $(INSTALLED)  ## Repair what a machine can repair
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

soak: $(INSTALLED)  ## Run the long versions of the tests: full fuzzing, training thresholds
	$(BIN)/python -m pytest --soak --timeout=0 --junitxml=benchmarks/results/soak.xml

clean:  ## Remove the virtual environment and all caches, but no runs
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find wmrobot tasks tests tools -name __pycache__ -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) tools/set_up.py $(VENV) --torch-index="$(TORCH_INDEX)"
	@touch $@

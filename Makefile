# Frequent tasks. `make` or `make help` lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# More settings for a command: make train-resnet ARGS="--model.lr 0.05"
ARGS ?=
# Folder of FER2013, read by training and filled by data-fer2013.
export FER_DATA_DIR ?= data
# Compiled modules are kept: without them, each process of the tests would need 12 seconds more to start.
unexport PYTHONDONTWRITEBYTECODE

NETWORKS := $(patsubst fer/configs/%.yaml,%,$(wildcard fer/configs/*.yaml))
BENCHES := $(filter-out speed,$(patsubst tests/bench/%.py,%,$(wildcard tests/bench/*.py)))
SWEEPS := $(patsubst sweeps/%.yaml,%,$(wildcard sweeps/*.yaml))

# A process that has no test left takes half of another's, so that none is last with a long file; the
# tests of most files, which share what they trained, stay together. Slow tests wait for servers and for
# processes that they start, so three processes run them, also on two cores; fast ones only compute.
IN_PARALLEL := --dist worksteal --numprocesses

.DEFAULT_GOAL := help
.PHONY: help setup demo bench test test-slow coverage lint format data-fer2013 release-model dashboard pictures notebooks clean

help: ## List all targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /|/' | awk -F'|' '{printf "  %-32s %s\n", $$1, $$2}'
	@for name in $(filter-out demo,$(NETWORKS)); do \
		printf '  %-32s %s\n' "train-$$name" "$$(sed -n '1s/^# //p' fer/configs/$$name.yaml)"; done
	@for name in $(SWEEPS); do \
		printf '  %-32s %s\n' "sweep-$$name" "$$(sed -n '1s/^# //p' sweeps/$$name.yaml)"; done
	@for name in $(BENCHES); do \
		printf '  %-32s %s\n' "bench-$$name" "$$(sed -n '1s/^"""//p' tests/bench/$$name.py)"; done
	@echo
	@echo '  settings: make train-conv6 ARGS="--model.lr 0.003 --trainer.max_epochs 5"'
	@echo '  all settings: .venv/bin/fer fit --config conv6 --help; all commands: .venv/bin/fer --help'

setup: $(INSTALLED) ## Create .venv and install the package, once

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'fer needs Python 3.11 or newer: make setup PYTHON=/path/to/python3.11'; exit 1; }
	@echo 'Setting up $(VENV): a few minutes, once; PyTorch for Linux is some gigabytes.'
	@if command -v uv >/dev/null; then \
		uv venv --quiet --allow-existing --seed --python $(PYTHON) $(VENV) && \
		uv pip install --python $(BIN)/python --editable '.[dev]'; \
	else \
		$(PYTHON) -m venv $(VENV) && \
		$(BIN)/python -m pip install --disable-pip-version-check --no-compile --editable '.[dev]'; \
	fi
	@touch $@
	@echo 'The command fer is in $(BIN): run "source $(BIN)/activate", once in each shell.'

demo: setup ## Train and prune a small network on synthetic faces: some minutes, nothing to download
	$(BIN)/fer fit --config demo --prune.enabled true --prune.criterion span --prune.target_macs 0.6 --report true $(ARGS)

pictures: setup ## Draw the README's pictures from a run of the demo (ARGS="runs/NAME"; usual: the newest run)
	$(BIN)/python notebooks/images/draw.py $(ARGS)

train-%: setup
	$(BIN)/fer fit --config $* $(ARGS)

sweep-%: setup
	$(BIN)/fer agent sweeps/$*.yaml $(ARGS)

bench: setup ## Print one table of all speeds beside their aims (ARGS="--quick": some minutes)
	$(BIN)/python tests/bench/speed.py $(ARGS)

bench-%: setup
	$(BIN)/python tests/bench/$*.py $(ARGS)

test: setup ## Run the fast tests
	$(BIN)/python -m pytest -m 'not slow' $(IN_PARALLEL) 2 $(ARGS)

test-slow: setup ## Run the slow tests
	$(BIN)/python -m pytest -m slow $(IN_PARALLEL) 3 $(ARGS)

coverage: setup ## Run all tests and show the lines that they do not cover
	$(BIN)/python -m pytest --cov=fer --cov-report=term-missing:skip-covered $(ARGS)

lint: setup ## Check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: setup ## Format the code and fix what ruff can fix
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

data-fer2013: setup ## Download FER2013 from Kaggle into $FER_DATA_DIR (default: data)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[kaggle]'
	$(BIN)/fer download '$(FER_DATA_DIR)'

release-model: setup ## Write the package's own network (ARGS="RUN…"; without a run it is trained first)
	$(BIN)/python -m fer.weights.release $(ARGS)

notebooks: setup ## Run the notebooks and store their outputs in them
	$(BIN)/jupyter execute --inplace notebooks/*.ipynb

dashboard: setup ## Make the W&B workspace and report of all runs (ARGS="--project NAME", or "--json FILE" without an account)
	@$(BIN)/python -c 'import wandb_workspaces' 2>/dev/null || \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dashboard]'
	$(BIN)/fer dashboard $(ARGS)

clean: ## Remove .venv and caches; runs and data stay
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .coverage

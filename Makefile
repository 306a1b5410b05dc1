# make run   set up .venv and run the main job on the embedded digits
# make test  set up .venv and run the checks and the tests;  make test-all adds the slow ones
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# a file stays in one process, so that what its tests share is made once; in the order of the folders,
# of which the last are quick, so that the processes end together
PYTEST := $(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: run test test-all check

run: $(VENV)/.installed
	$(BIN)/nas run

test: check
	$(PYTEST) -m "not slow"

test-all: check
	$(PYTEST)

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "expected Python >= 3.11, got $$($(PYTHON) --version); try: make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --constraint constraints.txt --editable ".[dev,data]"
	# networks of tests; of torchvision, which comes with it, they need nothing
	$(BIN)/python -m pip install --no-deps timm==1.0.31
	touch $@

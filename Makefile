# Every target sets up what it needs. A fresh Linux machine needs only git, make and Python >= 3.11.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
UV     := $(BIN)/uv
# PyTorch and scientific wheels are large; a slow line should not end the set-up.
export UV_HTTP_TIMEOUT ?= 600
# The lint and docs tools live in the same environment as the library.
STAMP  := $(VENV)/.set-up

.PHONY: help setup demo test test-all lint format docs lock clean

help:
	@echo "make setup   create .venv and install the pinned environment"
	@echo "make demo    compare three recipes on the embedded digits, two seeds each"
	@echo "make test    the test suite (a few minutes on two cores)"
	@echo "make lint    ruff, pyright, pyproject validation"
	@echo "make docs    build the documentation into docs/_build/html"
	@echo "make lock    re-resolve requirements.lock"

setup: $(STAMP)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "tailwise needs Python >= 3.11; $(PYTHON) is older. Name another: make PYTHON=python3.12 setup"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(STAMP): requirements.lock pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.5"
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes --compile-bytecode -r requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@

demo: setup
	$(BIN)/tailwise compare ce class-balanced-sampling balanced-softmax --data digits --seeds 2

test: setup
	$(BIN)/python -m pytest -m "not slow and not gpu" -n 2

test-all: setup
	$(BIN)/python -m pytest -n 2

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/validate-pyproject pyproject.toml

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

lock: $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.5"
	$(UV) pip compile pyproject.toml --group dev --universal --generate-hashes --no-header --quiet -o requirements.lock

clean:
	rm -rf docs/_build .pytest_cache .ruff_cache

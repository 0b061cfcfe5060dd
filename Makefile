# `make demo` and `make test` set up .venv themselves; nothing else is needed than Python, git and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := build/demo

.PHONY: demo test lint docs clean

# One stamp a dependency list: a changed pyproject.toml installs anew.
$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "onnxzip needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(VENV)/.installed
	@mkdir -p $(DEMO)
	$(BIN)/onnxzip optimize models/digits_resnet_sparse.onnx -c models/digits_calibration.npz -e models/digits_evaluation.npz -o $(DEMO)/digits.int8.onnx --force

test: $(VENV)/.installed lint
	$(BIN)/python -m pytest

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The site, into build/site. `make test` builds it too where this extra is installed.
docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	$(BIN)/mkdocs build --strict --site-dir build/site

clean:
	rm -rf $(VENV) build

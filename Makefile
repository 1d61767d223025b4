# `make app` and `make test` do all the set-up on a fresh machine with Python 3.11 or newer.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# uv takes the build of PyTorch that fits the machine (`torch-backend` in pyproject.toml): without a GPU that of the CPU, 0.2 GB
# instead of 4. Where PyTorch's own index cannot be reached, pip installs from PyPI alone.
UV := uv==0.13.9
INSTALL = $(BIN)/python -m pip install --disable-pip-version-check -q $(UV) && \
	UV_HTTP_TIMEOUT=20 UV_HTTP_RETRIES=1 $(BIN)/python -m uv pip install -q --python $(BIN)/python -r $(1) || \
	$(BIN)/python -m pip install --disable-pip-version-check -q -r $(1)

.PHONY: app test test-quick check lint format benchmark clean

# Served to this machine alone; `make app ADDRESS=0.0.0.0` opens it to the network.
ADDRESS ?= localhost

app: $(VENV)/app-installed
	$(BIN)/python -m streamlit run Home.py --server.address=$(ADDRESS)

test: check
	$(BIN)/python -m pytest

# For a developer's loop. `check`: style, types and the floors of the architecture. `test-quick`: the tests in QUICK.
QUICK := tests/core tests/data tests/review tests/test_architecture.py tests/test_imports.py

test-quick: $(VENV)/dev-installed
	$(BIN)/python -m pytest $(QUICK)

check: lint
	$(BIN)/lint-imports
	$(BIN)/mypy

lint: $(VENV)/dev-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/dev-installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark: $(VENV)/dev-installed
	$(BIN)/python -m benchmarks.single_image

clean:
	rm -rf $(VENV)

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/app-installed: requirements.txt | $(VENV)/bin/python
	$(call INSTALL,requirements.txt)
	touch $@

$(VENV)/dev-installed: requirements.txt requirements-dev.txt | $(VENV)/bin/python
	$(call INSTALL,requirements-dev.txt)
	touch $@ $(VENV)/app-installed

# Two commands do everything: `make demo` and `make test`. Both set up .venv first; they need Python 3.11+ and pip.

PYTHON ?= python3
BIN := .venv/bin
# Wheels only, each checked against its hash: nothing is compiled, nothing unpinned gets in.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes
PROJECT := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .

.PHONY: demo test lint format bench setup lock clean

demo: .venv/runtime
	$(BIN)/placewise demo --out demo

test: lint
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

lint: .venv/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# What PyTorch and fastembed are compared on is left out unless they are installed into .venv too.
bench: .venv/dev
	$(BIN)/python benchmarks/all.py

setup: .venv/dev

.venv/runtime: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(INSTALL) -r requirements.txt
	$(PROJECT)
	touch $@

.venv/dev: .venv/runtime requirements-dev.txt
	$(INSTALL) -r requirements-dev.txt
	touch $@

# Renews the pinned versions; needs uv.
lock:
	uv pip compile pyproject.toml --group build --universal --generate-hashes --no-strip-extras --python-version 3.11 --no-header \
		--upgrade --output-file requirements.txt
	uv pip compile pyproject.toml --group build --extra serve --universal --generate-hashes --no-strip-extras --python-version 3.11 \
		--no-header --upgrade --constraints requirements.txt --output-file requirements-serve.txt
	uv pip compile pyproject.toml --group build --group dev --universal --generate-hashes --no-strip-extras --python-version 3.11 \
		--no-header --upgrade --constraints requirements.txt --output-file requirements-dev.txt

clean:
	rm -rf .venv demo

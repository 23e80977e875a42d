# Two commands on a fresh machine: `make demo` and `make test`. Everything is installed into .venv; nothing else is touched.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
REQUEST_PATH := tests/compiled tests/integration/edge tests/integration/proxy tests/properties

.PHONY: help demo test check bench compiled verify setup lock format clean
.DEFAULT_GOAL := help

help:  ## What there is.
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

demo: $(VENV)/.runtime  ## The gateway doing its main job on real traffic, from the first request to a closed incident.
	@$(BIN)/sentinel demo $(ARGS)

test: $(VENV)/.complete  ## The whole test suite, on real PostgreSQL and Redis.
	@$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(VENV)/.complete  ## Lint, types, import contracts, lock files.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: $(VENV)/.complete  ## Processor time per request beside HAProxy and nginx+Lua (Debian packages; it names what is missing).
	@$(BIN)/python -m loadtests.side_by_side $(ARGS)

# In a copy of its own, because the build leaves its products beside the sources, where they would hide later edits.
compiled: $(VENV)/.complete  ## The request path compiled to C, into build/compiled (needs a C compiler and Python's headers).
	@rm -rf build && mkdir -p build/sources
	@cp -r pyproject.toml README.md LICENSE gateway lua migrations dashboards loadtests build/sources
	@HATCH_BUILD_HOOKS_ENABLE=1 $(BIN)/python -m build --wheel --no-isolation --outdir build build/sources >build/log 2>&1 || { tail -n 30 build/log; exit 1; }
	@$(BIN)/python -m zipfile -e build/*.whl build/compiled

verify: compiled  ## The tests of the request path, on what `make compiled` made of it.
	@SENTINEL_COMPILED=1 PYTHONSAFEPATH=1 PYTHONPATH=$(CURDIR)/build/compiled $(BIN)/python -m pytest -o pythonpath="build/compiled ." -n auto --dist loadfile --no-loadscope-reorder $(or $(ARGS),$(REQUEST_PATH))

setup: $(VENV)/.complete  ## The complete environment: all extras and development tools.

format: $(VENV)/.complete  ## Format and mend what can be mended mechanically.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The lock files name no host; plain pip reads them too.
lock: $(VENV)/.complete  ## Pin every dependency anew, with hashes.
	$(BIN)/uv pip compile -q --upgrade --universal --generate-hashes --no-header --no-emit-index-url pyproject.toml -o requirements/runtime.txt
	$(BIN)/uv pip compile -q --upgrade --universal --generate-hashes --no-header --no-emit-index-url --extra dev pyproject.toml -o requirements/dev.txt
	$(BIN)/uv pip compile -q --upgrade --universal --generate-hashes --no-header --no-emit-index-url --extra ai pyproject.toml -o requirements/ai.txt

clean:  ## Remove the environment and every cache.
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "SentinelStack needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Choose another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "Python's venv module is incomplete here. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: $(VENV)/bin/pip requirements/runtime.txt pyproject.toml
	@echo "Installing SentinelStack into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/runtime.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(VENV)/.complete: $(VENV)/bin/pip requirements/dev.txt pyproject.toml
	@echo "Installing SentinelStack with all extras and development tools into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@ $(VENV)/.runtime

# `make help` says what there is. Every target makes the environment it needs in .venv and reuses it.

PYTHON ?= python3
ARGS ?=
JOBS ?= logical
ROWS ?=

BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help run test test-stress check fix proto bench bench-peers clean light full peers
.SILENT:

help: ## Say what there is
	echo "Targets (PYTHON=python3 picks the interpreter, ARGS=... is passed on):"
	sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

run: light ## Start a server, enrol and identify real photographs (ARGS=--once ends afterwards)
	$(BIN)/python -m mien_client.quickstart $(ARGS)

test: full ## Run the tests, stress tests excepted (ARGS="-k name")
	echo "running the tests"
	$(BIN)/python -m pytest tests --ignore=tests/stress -n $(JOBS) --maxprocesses=8 --dist=loadfile -q $(ARGS)

test-stress: full ## Run the long tests, one at a time
	echo "running the stress tests"
	$(BIN)/python -m pytest tests/stress -s -o faulthandler_timeout=0 $(ARGS)

check: full ## Lint, types, layers, generated code, house rules; seconds
	echo "ruff: rules and format"
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --quiet --check .
	echo "mypy --strict"
	$(BIN)/mypy --no-error-summary
	echo "import-linter: layers"
	$(BIN)/lint-imports --no-logo >build/layers.txt 2>&1 || { cat build/layers.txt; exit 1; }
	echo "generated code"
	$(BIN)/python tools/generate.py --check
	echo "house rules"
	$(BIN)/python -m pytest tests/unit/test_tidy.py -q --no-header

fix: full ## Let ruff repair and format what it can
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format --quiet .

proto: full ## Generate the Python code of the .proto files
	$(BIN)/python tools/generate.py

bench: full ## Measure against FAISS and write build/bench/latest.json (ROWS=100000 for the quick form)
	$(BIN)/python -m benchmarks.run $(if $(ROWS),--rows $(ROWS)) $(ARGS)

bench-peers: peers ## Measure beside other systems, in .venv-peers (ROWS=200000; ARGS="--only scann")
	.venv-peers/bin/python -m benchmarks.peers $(if $(ROWS),--rows $(ROWS)) $(ARGS)

clean: ## Remove build products and caches; keep .venv
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.venv*/*' -prune -exec rm -rf {} +

light full:
	PYTHON="$(PYTHON)" sh tools/environment.sh $@
	mkdir -p build

peers:
	PYTHON="$(PYTHON)" sh benchmarks/peers/environment.sh
	mkdir -p build

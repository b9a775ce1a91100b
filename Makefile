# make run | make test: a machine with Python 3.11 or newer and make is enough. Set-up downloads once.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
ARGS   ?=
export UV_PYTHON_DOWNLOADS := never
export UV_SYSTEM_CERTS := 1
.DEFAULT_GOAL := help
.PHONY: chaos fuzz soak help setup run demo bench test lint proto constraints clean

help:            ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## +/\t/' | awk -F'\t' '{ printf "  make %-12s %s\n", $$1, $$2 }'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11'; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo 'On Debian or Ubuntu: apt install python3-venv'; rm -rf $(VENV); exit 1; }

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo 'setting up $(VENV) (once)'
	@$(BIN)/python -m pip install -q --disable-pip-version-check uv -c constraints.txt
	@$(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt -e '.[dev]'
	@touch $@

setup: $(VENV)/.installed   ## make .venv with the gateway and its tools
run: setup       ## serve on 127.0.0.1:50051 with the emulator; ARGS="..." are options of 'serve'
	@exec $(BIN)/trading-gateway serve $(ARGS)
demo: setup      ## one minute, no keys: alpaca-py alone beside the gateway
	@$(BIN)/python -m tests.demo $(ARGS)
bench: setup     ## the budgets U1 to U3, F1, F2, D1 and J1 as ratios of one run, what neighbors notice, how fast it starts
	@$(BIN)/python -m tests.bench $(ARGS)
chaos: setup     ## orders that survive anything: ten minutes of kills and faults; MINUTES=, SEEDS=, ARGS="planted"
	@$(BIN)/python -m tests.chaos $(ARGS)
fuzz: setup      ## garbage at every rpc and every parser: ten minutes; MINUTES=, SEED=, ARGS="rpcs" or "parsers"
	@$(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt -e '.[fuzz]' || echo 'atheris cannot be installed here'
	@$(BIN)/python -m tests.fuzz $(ARGS)
soak: setup      ## an hour of everybody at once, and whether anything grows or is lost; MINUTES=, SEED=
	@$(BIN)/python -m tests.soak $(ARGS)
test: setup      ## all tests: behaviour, style, types, imports, protos
	@$(BIN)/python -m pytest -q -n auto --dist worksteal $(ARGS)
lint: setup      ## ruff, mypy --strict, import contracts, buf
	@$(BIN)/ruff check . && $(BIN)/ruff format --check -q .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@rm -rf build/buf && $(BIN)/python protos/generate.py --workspace build/buf && cd build/buf && ../../$(BIN)/buf lint && ../../$(BIN)/buf format --diff --exit-code protos
proto: setup     ## regenerate clients/python/trading_gateway/v1 from protos/
	@$(BIN)/python protos/generate.py
constraints: setup   ## pin the newest versions that pyproject.toml allows
	@{ echo '# Every package that the gateway and its tools install, pinned: pip and uv read it with -c.'; \
	   echo "# Made by 'make constraints'; no address stands in it."; \
	   $(BIN)/uv pip compile -q --universal --no-annotate --no-header pyproject.toml --extra dev --extra fuzz; } > constraints.new && mv constraints.new constraints.txt
clean:           ## remove what set-up and builds made
	rm -rf $(VENV) build

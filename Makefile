# Meterflow: `make` alone lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PRINT_VERSION := import sys; print("%d.%d" % sys.version_info[:2])
VERSION := $(shell $(PYTHON) -c '$(PRINT_VERSION)' 2>/dev/null)
RUNTIME := $(VENV)/.runtime-$(VERSION)
DEVELOPMENT := $(VENV)/.development-$(VERSION)

# `python3 -m venv` without pip, filled by the system's pip from outside: works on a machine
# without python3-venv, and if the system's pip refuses to install into the system.
PIP_INSTALL := $(PYTHON) -m pip --python $(BIN)/python install --quiet \
	--disable-pip-version-check --no-warn-script-location -c constraints.txt

.PHONY: help run test test-slow chaos chaos-long power-cuts check fix bench docs screenshots \
	lock fresh clean set-up

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null \
		|| sed -nE 's/^([a-z-]+):.*## (.*)/make \1	\2/p' $(MAKEFILE_LIST)

run: $(RUNTIME) ## start all parts; open http://localhost:8000 (Ctrl-C stops)
	@$(BIN)/python -m meterflow run

set-up: $(RUNTIME) ## install or update what Meterflow needs, into .venv

test: $(DEVELOPMENT) ## run the tests, e.g. make test ARGS='-k recorder'
	@tools/install-test-packages
	@$(BIN)/python -m pytest -n 5 --dist loadfile --no-loadscope-reorder $(ARGS)

test-slow: $(DEVELOPMENT) ## run the slow tests, which need RabbitMQ
	@tools/install-test-packages slow
	@$(BIN)/python -m pytest -m slow $(ARGS)

check: $(DEVELOPMENT) ## check style and types with ruff and mypy --strict
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

fix: $(DEVELOPMENT) ## repair style automatically
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

chaos: $(DEVELOPMENT) ## kill parts in random order, then compare readings; ARGS='--seed 7'
	@tools/install-test-packages
	@$(BIN)/python -m tests.system.chaos $(ARGS)

chaos-long: $(DEVELOPMENT) ## the same for half an hour: both brokers, PostgreSQL, a group of recorders
	@tools/install-test-packages
	@$(BIN)/python -m tests.system.chaos --long $(ARGS)

power-cuts: $(DEVELOPMENT) ## cut the power hundreds of times, then look for what was acknowledged; ARGS='--seed 7'
	@tools/install-test-packages
	@$(BIN)/python -m tests.system.power_cuts $(ARGS)
	@DAMAGE_FLIPS=400 $(BIN)/python -m pytest -q --timeout 3600 tests/system/test_rotten_bits.py

bench: $(DEVELOPMENT) ## measure, each figure beside its reference
	@missed=0; for each in benchmarks/*.py; do \
		echo "== $$each"; PYTHONPATH=. $(BIN)/python $$each || missed=1; \
	done; exit $$missed

docs: $(DEVELOPMENT) ## generate the pages quantities and settings, and .env.example
	@$(BIN)/python -m tools.generate_docs

screenshots: $(DEVELOPMENT) ## take pictures of every page of the demo, into docs/screenshots
	@tools/install-test-packages
	@PYTHONPATH=. $(BIN)/python -m tools.screenshots

lock: ## choose new exact versions for constraints.txt (needs uv)
	@command -v uv >/dev/null || { echo "make lock needs uv: https://docs.astral.sh/uv/"; exit 1; }
	uv pip compile --universal --all-extras --upgrade --quiet -o constraints.txt pyproject.toml

fresh: ## test the set-up in clean Debian 12 and 13 trees (needs root and mmdebstrap)
	@tools/fresh-machine bookworm trixie

clean: ## remove what make has made; readings and settings stay
	rm -rf $(VENV) *.egg-info build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

define NEW_VENV
@$(PYTHON) tools/check_python.py
@[ "$$($(BIN)/python -c '$(PRINT_VERSION)' 2>/dev/null)" = "$(VERSION)" ] || rm -rf $(VENV)
@$(PYTHON) -m venv --without-pip $(VENV)
endef

$(RUNTIME): pyproject.toml constraints.txt
	$(NEW_VENV)
	@echo "Setting up $(VENV): about half a minute, once."
	@$(PIP_INSTALL) -e '.[postgres]'
	@touch $@

# At once with what the programs need, where that is not there yet.
$(DEVELOPMENT): pyproject.toml constraints.txt
	$(NEW_VENV)
	@echo "Setting up $(VENV) with the tools for tests and checks: about a minute, once."
	@$(PIP_INSTALL) -e '.[archive,dev,postgres]'
	@touch $(RUNTIME) $@

# nverb: `make run` plays, `make test` proves. Both install all they need first, once.
# As root or with sudo, on Debian 12 or Raspberry Pi OS.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SUDO   := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
APT    := DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends

# What `make run` and the board need; what the tests need on top of it.
APT_RUN  := jackd2 gcc libc6-dev python3-dev python3-venv libsndfile1 alsa-utils
APT_TEST := valgrind

SOURCES := $(wildcard dsp/*.c dsp/*.h) setup.py setup.cfg pyproject.toml

.PHONY: run test acceptance lint bench clean help
.DEFAULT_GOAL := help

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

run: $(VENV)/.run ## install what is missing and run the pedal (a demo, when there is no sound card)
	@$(BIN)/nverb run --or-demo $(ARGS)

test: $(VENV)/.test lint ## install what is missing and run all tests
	@$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.test ## style and types
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy

bench: $(VENV)/.test ## print the figures of this machine
	@$(BIN)/nverb bench kernel && $(BIN)/nverb bench knobs && $(BIN)/nverb bench pedal

clean: ## remove what was built (not out/)
	rm -rf $(VENV) build dist *.egg-info dsp/*.so

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is missing: sudo apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: nverb needs Python 3.11 or newer: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

# Asks apt only for packages that are not there: quick the second time, and no root is needed then.
define apt
@missing=$$(for p in $(1); do dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
if [ -n "$$missing" ]; then echo "installing: $$missing"; \
$(SUDO) apt-get update -qq && $(SUDO) env $(APT) $$missing >/dev/null || { echo "make: could not install; try: sudo apt-get install $$missing" >&2; exit 1; }; fi
endef

$(VENV)/.apt-run: Makefile
	$(call apt,$(APT_RUN))
	@$(MAKE) -s $(VENV)/bin/python && touch $@

$(VENV)/.apt-test: Makefile | $(VENV)/.apt-run
	$(call apt,$(APT_TEST))
	@touch $@

$(VENV)/.run: $(SOURCES) | $(VENV)/.apt-run
	@echo "installing nverb into $(VENV)"
	@$(BIN)/pip install -q --disable-pip-version-check -e '.[demo]'
	@touch $@

$(VENV)/.test: $(SOURCES) | $(VENV)/.apt-run $(VENV)/.apt-test
	@echo "installing nverb and its tests into $(VENV)"
	@$(BIN)/pip install -q --disable-pip-version-check -e '.[demo,test]'
	@touch $@ $(VENV)/.run

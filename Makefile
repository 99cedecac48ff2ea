# `make run` does the main job on a fresh machine, `make test` passes the tests; both set up first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUNS ?= runs
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: run test slow lint types check setup results-plumbing results-learning results-search results-selection bench

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

# One folder for each, so that each can be had alone; every one has 96 completions, and so has
# results-plumbing (32 rollouts of three). Constants were fixed on dev.
BY_VALUE := mcts[completions=96;rollouts=null;parallel=1;value_weight=1;exploration=0.1;selection=uct;proposals=40],beam[completions=96;width=2;proposals=40]
PAPER := mcts[completions=96;rollouts=null;parallel=1;value_weight=0;selection=armap;normalisation=none]
REFLEXION := reflexion[completions=96;rollouts=null;stop_probability=0.98]
TASKS ?= 901-1000
REWARD = '$(STUDY)/learning/seed-{seed}/fraction-1/reward'
SEARCH = $(BIN)/armap evaluate game24 --split test --tasks $(TASKS) --seed $(COMMA_SEEDS) --concurrency 48 --reward $(REWARD)

results-search: results-plumbing
	$(BIN)/armap serve policy -- $(SEARCH) --planner '$(BY_VALUE)' --out $(STUDY)/search/value
	$(BIN)/armap serve policy -- $(SEARCH) --planner '$(PAPER)' --out $(STUDY)/search/paper
	$(BIN)/armap serve policy -- $(SEARCH) --planner '$(REFLEXION)' --out $(STUDY)/search/reflexion
	$(BIN)/python benchmarks/uniform.py --planner '$(BY_VALUE),$(PAPER),best_of_n[n=95],best_of_n[n=32]' \
	    --tasks $(TASKS) --seeds $(COMMA_SEEDS) --out $(STUDY)/search/uniform --reward $(REWARD)
	$(BIN)/python benchmarks/compare.py $(STUDY)/plumbing $(STUDY)/search/value $(STUDY)/search/paper \
	    $(STUDY)/search/reflexion $(STUDY)/search/uniform

# Who picks best among stored candidates, in the shop and in ScienceWorld: data, model, report, pick.
PICK := $(STUDY)/selection
SHARES := --policy-share 0.04 --written-share 0.05 --llm-share 0.1
SHOP := --rows 12 -B part_tokens=128

results-selection: setup
	$(BIN)/armap serve policy --max-model-len 8000 -- $(BIN)/armap generate webshop --pairs 8000 $(SHARES) --out $(PICK)/webshop/data
	$(BIN)/armap train $(PICK)/webshop/data --minutes 20 $(SHOP) --out $(PICK)/webshop/reward
	$(BIN)/armap reward report $(PICK)/webshop/reward $(PICK)/webshop/data --out $(PICK)/webshop/report
	$(BIN)/python benchmarks/selection.py candidates webshop --tasks 0-199 -E render=false --out $(PICK)/webshop/candidates
	$(BIN)/python benchmarks/selection.py judge $(PICK)/webshop/candidates trained=$(PICK)/webshop/reward --out $(PICK)/webshop/judged.json
	$(BIN)/armap generate scienceworld --pairs 2000 --values 1 --partial-share 0.1 --out $(PICK)/scienceworld/data
	$(BIN)/armap train $(PICK)/scienceworld/data --minutes 20 $(SHOP) --out $(PICK)/scienceworld/reward
	$(BIN)/armap reward report $(PICK)/scienceworld/reward $(PICK)/scienceworld/data --out $(PICK)/scienceworld/report
	$(BIN)/python benchmarks/selection.py candidates scienceworld --split seen-short --n 8 -E actions=valid --out $(PICK)/scienceworld/candidates
	$(BIN)/python benchmarks/selection.py judge $(PICK)/scienceworld/candidates trained=$(PICK)/scienceworld/reward --out $(PICK)/scienceworld/judged.json

bench: setup
	$(BIN)/python benchmarks/concurrency.py
	$(BIN)/python benchmarks/search.py
	$(BIN)/python benchmarks/viewer.py
	$(BIN)/python benchmarks/environments.py
	$(BIN)/python benchmarks/reward.py

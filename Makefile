# `make run` does the main job on a fresh machine, `make test` passes the tests; both set up first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUNS ?= runs
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: run test slow lint types check setup bench
.PHONY: results-plumbing results-learning results-search results-selection results-ablations

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

# Who picks best among stored candidates, in the shop and in ScienceWorld: data, models, reports, picks.
PICK := $(STUDY)/selection
WRITES := --written-share 0.05 --llm-share 0.03 --policy-timeout 900
SHOP := --pairs 5000 --policy-share 0.015 $(WRITES)
READ_SHOP := --cpu-minutes 40 --rows 12 -B part_tokens=128
WORLD := --pairs 2500 --episodes 3 --policy-share 0.01 $(WRITES) --uniform-share 0.12 --negatives 6 --values 1 --continuations 2 --partial-share 0.1
READ_WORLD := --cpu-minutes 40 --rows 16 -B part_tokens=96 -B layers=3
MODELS = 'trained=$(PICK)/$(1)/reward-{seed}' --seeds $(COMMA_SEEDS)

results-selection: setup
	set -e; for seed in $(SEEDS); do \
	    $(BIN)/armap serve policy --max-model-len 8000 -- $(BIN)/armap generate webshop --seed $$seed $(SHOP) --out $(PICK)/webshop/data-$$seed; \
	    $(BIN)/armap train $(PICK)/webshop/data-$$seed --seed $$seed $(READ_SHOP) --out $(PICK)/webshop/reward-$$seed; \
	    $(BIN)/armap reward report $(PICK)/webshop/reward-$$seed $(PICK)/webshop/data-$$seed --out $(PICK)/webshop/report-$$seed; \
	    $(BIN)/armap serve policy --max-model-len 8000 -- $(BIN)/armap generate scienceworld --seed $$seed $(WORLD) --out $(PICK)/scienceworld/data-$$seed; \
	    $(BIN)/armap train $(PICK)/scienceworld/data-$$seed --seed $$seed $(READ_WORLD) --out $(PICK)/scienceworld/reward-$$seed; \
	    $(BIN)/armap reward report $(PICK)/scienceworld/reward-$$seed $(PICK)/scienceworld/data-$$seed --out $(PICK)/scienceworld/report-$$seed; \
	done
	$(BIN)/python benchmarks/selection.py candidates webshop --tasks 0-199 --n 16 -E render=false --out $(PICK)/webshop/candidates
	$(BIN)/python benchmarks/selection.py judge $(PICK)/webshop/candidates $(call MODELS,webshop) --together --out $(PICK)/webshop/judged.json
	$(BIN)/python benchmarks/selection.py candidates scienceworld --split seen-short --n 8 -E actions=valid --out $(PICK)/scienceworld/candidates
	$(BIN)/armap serve policy -- $(BIN)/python benchmarks/selection.py judge $(PICK)/scienceworld/candidates $(call MODELS,scienceworld) --prompt --together --out $(PICK)/scienceworld/judged.json
	$(BIN)/python benchmarks/selection.py candidates scienceworld --split unseen --tasks "$$($(BIN)/python benchmarks/unseen_short.py)" --n 8 -E actions=valid --out $(PICK)/scienceworld/candidates-unseen
	$(BIN)/python benchmarks/selection.py judge $(PICK)/scienceworld/candidates-unseen $(call MODELS,scienceworld) --together --out $(PICK)/scienceworld/judged-unseen.json
	$(BIN)/python benchmarks/selection.py judge $(PICK)/scienceworld/candidates --also $(PICK)/scienceworld/candidates-unseen $(call MODELS,scienceworld) --together --out $(PICK)/scienceworld/judged-all.json

# What matters? In Game of 24, where exhaustive search judges; constraints and images in the shop.
ABLATE = $(BIN)/python benchmarks/ablations.py
IN_24 := --environment game24 --seeds $(COMMA_SEEDS)

results-ablations: setup
	$(ABLATE) loss $(IN_24) --pairs 36000 --cpu-minutes $(MINUTES) --out $(STUDY)/ablations
	$(ABLATE) data $(IN_24) --pairs 36000 --cpu-minutes $(MINUTES) --out $(STUDY)/ablations
	$(BIN)/armap serve policy -- $(ABLATE) explorer $(IN_24) --pairs 1000 --cpu-minutes 3 --out $(STUDY)/ablations/explorer
	$(BIN)/armap serve policy -- $(ABLATE) sources $(IN_24) --pairs 8000 --cpu-minutes 5 --out $(STUDY)/ablations/sources
	$(ABLATE) constraints --seeds $(COMMA_SEEDS) --pairs 2500 --cpu-minutes 20 --tasks 0-99 --n 8 --out $(STUDY)/ablations
	$(ABLATE) images --seeds $(COMMA_SEEDS) --pairs 1500 --cpu-minutes 20 --tasks 0-99 --n 8 --out $(STUDY)/ablations

bench: setup
	$(BIN)/python benchmarks/concurrency.py
	$(BIN)/python benchmarks/search.py
	$(BIN)/python benchmarks/viewer.py
	$(BIN)/python benchmarks/environments.py
	$(BIN)/python benchmarks/reward.py

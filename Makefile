# make help lists the targets.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help install test lint demo compare clean

help:
	@echo 'make install  create $(VENV) with everything the default needs, MMF included'
	@echo 'make test     run the tests'
	@echo 'make lint     check style, types, the direction of imports and the length of files'
	@echo 'make demo     the whole way on the embedded toy world: corpus, pre-training, fine-tuning, report'
	@echo 'make compare  every system of the paper on the toy world (hours; goes on where it was stopped): tables, a plot and a page'
	@echo 'make clean    remove $(VENV) and caches'

install: $(STAMP)

# torch goes first, so that nothing that only asks for "torch" chooses another build. mmf pins torch 1.5: --no-deps.
$(STAMP): requirements.txt requirements-dev.txt setup.py pyproject.toml tools/build_backend.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet "$$(grep '^torch==' requirements.txt)"
	$(BIN)/pip install --quiet -r requirements-dev.txt
	$(BIN)/pip install --quiet --no-deps mmf==1.0.0rc10
	$(BIN)/pip install --quiet --no-deps --editable .
	touch $@

# Files of tests at the same time.
TEST_WORKERS ?= 2
# Small tensors: one thread a process is faster than many on few cores.
test: export OMP_NUM_THREADS ?= 1
test: install
	$(BIN)/pytest -q -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy mmf_muvla
	$(BIN)/lint-imports --no-cache --no-logo
	@awk 'FNR == 401 { print FILENAME ": has more than 400 lines"; found = 1 } END { exit found }' \
		$(shell find mmf_muvla tools -name '*.py')

demo: install
	$(BIN)/python tools/demo.py

# Seeds and jobs at the same time can be chosen: make compare SEEDS=[0,1,2] JOBS=4
SEEDS ?= [0,1,2,3,4]
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
compare: install
	$(BIN)/python tools/run_study.py config=projects/muvla/studies/main.yaml seeds=$(SEEDS) num_workers=$(JOBS)

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache

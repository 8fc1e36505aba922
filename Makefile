# Everything a developer runs. The environment is made on first use and again when its inputs change.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := $(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist worksteal
OLDEST := .venv-oldest
# Of `make oldest`: another torch than the oldest one, and which tests.
TORCH ?=
TESTS ?=
OLDEST_READY := $(OLDEST)/.ready-$(or $(TORCH),oldest)

# One thread: the networks are small, and more threads wait for each other.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help demo check test lint types docs pytest oldest bench format serve clean clean-kernels

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 15

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("sb3-spiking needs Python 3.11 or newer; try: make PYTHON=python3.11 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[mujoco,atari,contrib,minatar,completion,docs,dev]"
	@touch $@

demo: $(READY)  ## train a spiking agent until it balances, and draw its spikes
	$(BIN)/python examples/inverted_pendulum.py

# The rooms that everything stands on; of policies one algorithm of each family, nothing that takes long: see CONTRIBUTING.md.
CHECKED := $(addprefix tests/,snn reading policies conversion optimizers evaluation \
  $(addprefix test_,errors.py files_of_0_1_0.py notices.py versions.py))

check: lint types $(READY)  ## before a commit, in three minutes: lint, types, the tests that matter most
	$(PYTEST) -m "not slow and not twin" $(CHECKED)

test: lint types pytest  ## everything that must be green, in a quarter of an hour; a test builds the site

lint: $(READY)  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)  ## mypy
	$(BIN)/mypy

docs: $(READY)  ## build the site, warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

pytest: $(READY)  ## all the tests, in a process for each core, four at most
	$(PYTEST)

# Torch's oldest release is gigabytes of CUDA on Linux: PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu has one without.
$(OLDEST_READY): pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv --clear $(OLDEST)
	sed '$(if $(TORCH),s/^torch==.*/torch==$(TORCH)/)' constraints-oldest.txt > $(OLDEST)/constraints.txt
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check -c $(OLDEST)/constraints.txt -e ".[mujoco,atari,contrib,minatar,completion]" pytest hypothesis sybil
	@touch $@

oldest: $(OLDEST_READY)  ## the fast tests with the oldest versions allowed (TORCH=2.13.0 TESTS=tests/snn)
	NUMBA_CACHE_DIR=$(CURDIR)/$(OLDEST)/kernels $(OLDEST)/bin/pytest -m "not slow" $(TESTS)

bench: $(READY)  ## measure the speed of everything and write docs/data/speed/cpu.json
	$(BIN)/python benchmarks/speed.py

format: $(READY)  ## put the code into its form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

serve: $(READY)  ## the site at http://127.0.0.1:8000, rebuilt on change
	$(BIN)/mkdocs serve

clean-kernels:  ## forget the compiled kernels
	find sb3_spiking -name '*.nb[ci]' -delete

clean: clean-kernels  ## remove the environment and everything built
	rm -rf $(VENV) $(OLDEST) site .mypy_cache .ruff_cache .pytest_cache .hypothesis

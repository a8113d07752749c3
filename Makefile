# Everything happens in .venv; the first run installs what a target needs, later runs find it there.
#
#   TORCH_INDEX   where torch comes from; empty means PyPI. PyPI's Linux x86-64 build brings CUDA (several GB); for the
#                 small CPU build:  make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
#   PYTHON        the interpreter for .venv; without it the first of python3.11, python3, python3.12, ... that is new enough
#   BENCH_DATA    folder with the data sets that `make bench` reads; without it benchmarks use what they bring along

TORCH_INDEX ?=
PYTHON ?=
BENCH_DATA ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test lint figures bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.train ## train a small encoder on this machine's own documentation, and search with it
	$(BIN)/nearfar demo

test: lint ## lint, types, layers, then the tests
	$(BIN)/pytest -n 2

lint: $(VENV)/.dev ## ruff, mypy, import-linter, and that no table differs from the measured figures
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/figures.py --check

figures: $(BIN)/python ## write the tables of README.md and docs/ from benchmarks/results
	$(BIN)/python docs/figures.py

bench: $(VENV)/.bench ## run every benchmark in its quick form; says whether they run, not how fast
	@out=$$(mktemp -d) && trap 'rm -rf "$$out"' EXIT && \
	for script in benchmarks/*.py; do \
		[ -e "$$script" ] || continue; \
		echo "$$script --quick"; \
		$(BIN)/python "$$script" --quick --json "$$out/figures.json" $(if $(BENCH_DATA),--data "$(BENCH_DATA)") || exit 1; \
	done

clean: ## remove .venv and everything that can be made again
	rm -rf $(VENV) build dist site .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
	find src tests benchmarks docs -type d -name __pycache__ -prune -exec rm -rf {} +

# A stamp is as new as the last install of its extra. torch comes first and alone, so that TORCH_INDEX answers for nothing else.
# lightly, a peer of benchmarks/loss.py and images.py, comes without what it wants: its torchvision has no build on PyPI that fits
# a torch from elsewhere. images.py needs the transforms of one all the same; it lies apart, where nothing else finds it and fails.
# hnswlib, a peer of benchmarks/index.py, is compiled; without a compiler the benchmark goes without it and says so.
$(VENV)/.torch: constraints.txt | $(BIN)/python
	$(PIP) install -c constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	@touch $@

$(VENV)/.train $(VENV)/.dev $(VENV)/.bench: $(VENV)/.%: $(VENV)/.torch pyproject.toml constraints.txt
	$(PIP) install -c constraints.txt -e ".[$*]"
	$(if $(filter bench,$*),$(PIP) install --no-deps lightly==1.6.0 lightly-utils==0.0.2)
	$(if $(filter bench,$*),$(PIP) install --no-deps --upgrade --target $(VENV)/peers torchvision==0.28.0)
	$(if $(filter bench,$*),-$(PIP) install hnswlib==0.8.0)
	@touch $@

$(BIN)/python:
	@for python in $(PYTHON) $(if $(PYTHON),,python3.11 python3 python3.12 python3.13 python3.14); do \
		if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			echo "$$python -m venv $(VENV)"; \
			"$$python" -m venv $(VENV) && exit 0; \
			rm -rf $(VENV); \
			echo "$$python cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; \
			exit 1; \
		fi; \
	done; \
	echo "nearfar needs Python 3.11 or newer, and $(if $(PYTHON),$(PYTHON) is not,found none). Install it, or name it: make PYTHON=/path/to/python3.11" >&2; \
	exit 1

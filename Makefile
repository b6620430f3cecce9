# Every target makes what it needs, the virtual environment included. `make help` lists them.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
FAIL_UNDER ?= 90
TORCH ?= torch
EXTRAS ?= atari,video,display,classic-control
FOR_TESTS := atari,video,display,classic-control,box2d,mujoco,wrappers,multi-agent,test

# The libraries of the recipes that have virtual environments of their own, by the names of their modules.
RECIPES := pufferlib ray tianshou torchrl

# Many tests wait for servers, so six processes pay on two cores. The order of the files puts the long ones first.
PARALLEL := --numprocesses 6 --dist loadfile --no-loadscope-reorder

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# A stamp says that a thing was installed. The environment's names the Python it was made with, so that
# `make PYTHON=python3.12 test` makes it anew.
MADE := $(VENV)/.made-with-$(subst /,_,$(PYTHON))
COMMA := ,
SERVE := $(VENV)/.serve-with-$(subst $(COMMA),-,$(EXTRAS))
METADATA := pyproject.toml setup.py conformance/pyproject.toml
CLIENT := $(wildcard client/*.* gymtwist/*.py) $(shell find $(wildcard gymtwist/client gymtwist/protocol gymtwist/spaces) -name '*.py')
SOURCES := gymtwist twisted conformance setup.py noxfile.py docs/conf.py $(wildcard tests benchmarks tools)

# Without their bytecode, each of the many processes that the tests start compiles what it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help serve everything screenshots test learning ray cluster recipes registry sweep cgroups packages fuzz soak gymnasium-tests pettingzoo-tests lint docs figures bench clean

help: ## List the targets.
	@sed -n 's/^\([a-z-]*\): .*## \(.*\)/make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 22
	@echo
	@echo 'PYTHON=python3.12 chooses the Python, VENV=.venv312 the virtual environment,'
	@echo 'ARGS="..." goes to twistd gymsock (serve), pytest (test, cluster, recipes, registry, sweep, cgroups), or the program of packages,'
	@echo 'fuzz, soak, gymnasium-tests, pettingzoo-tests, figures and bench.'
	@echo 'EXTRAS=mujoco,box2d chooses what serve installs; otherwise: $(EXTRAS).'

serve: $(SERVE) ## Serve on port 5001 of this machine; ARGS="--port 5002" for another, EXTRAS=mujoco for other environments.
	@# Ctrl-C and kill stop the server in order, which leaves status 130 or 143 and is not an error.
	@trap : INT; $(BIN)/twistd --nodaemon --pidfile= gymsock $(ARGS) || \
	  { status=$$?; [ $$status -eq 130 ] || [ $$status -eq 143 ] || exit $$status; }

test: $(VENV)/.test ## Run the tests and report their coverage (at least FAIL_UNDER=90 percent).
	$(BIN)/coverage erase
	@# The coverage is reported after a failure too; the status is that of the tests if they failed.
	@status=0; \
	$(BIN)/coverage run -m pytest $(PARALLEL) $(ARGS) || status=$$?; \
	$(BIN)/coverage combine --quiet && $(BIN)/coverage report --fail-under=$(FAIL_UNDER) \
	  || [ $$status -ne 0 ] || status=1; \
	exit $$status

learning: $(VENV)/.test ## Install what the examples that learn need, so that test tests them: PyTorch, Stable-Baselines3 and sb3-contrib.
	$(PIP) install '$(TORCH)'
	$(PIP) install --editable '.[learning]'

ray: $(VENV)/.test
	@[ $(VENV)/.ray -nt pyproject.toml ] || { $(PIP) install --editable '.[ray]' && touch $(VENV)/.ray; } \
	  || echo 'notice: Ray cannot be installed; its tests are skipped'

cluster: ray ## Install Ray, and test sessions on a cluster of three nodes; skipped if there is no Ray for this Python.
	$(BIN)/python -m pytest tests/integration/test_ray_placement.py tests/integration/test_resting_nodes.py \
		tests/integration/test_cut_networks.py -m "cluster and not sweep" $(ARGS)

recipes: learning $(RECIPES:%=.recipes/%/.installed) ## Install the other learning libraries, each apart, and test the recipes of all.
	$(BIN)/python -m pytest tests/integration/test_recipes.py -m "sweep or not sweep" $(ARGS)

registry: $(VENV)/.test ## Play every registered environment through every protocol, and list those that cannot be made.
	$(BIN)/python -m pytest tests/integration/test_registered_environments.py \
		tests/integration/test_registered_snapshots.py -m "sweep or not sweep" $(ARGS)

sweep: $(VENV)/.test ## Run the tests that are too many for every day, except those of recipes and registry.
	$(BIN)/python -m pytest $(PARALLEL) -m "sweep and not cluster" --ignore tests/integration/test_recipes.py \
		--ignore tests/integration/test_registered_environments.py \
		--ignore tests/integration/test_registered_snapshots.py $(ARGS)

cgroups: $(VENV)/.test ## Test control groups of sessions, as root, in one that systemd delegates; elsewhere those tests are skipped.
	sudo systemd-run --scope --property Delegate=yes $(BIN)/python -m pytest tests/integration/test_cgroups.py $(ARGS)

packages: $(VENV)/.test ## Play third-party packages, each in an environment of its own, and write their page; ARGS=minigrid for one.
	$(BIN)/python -m tools.packages $(ARGS)

fuzz: $(VENV)/.test ## Feed mutated openings and frames to what reads them; ARGS="--runs 1000000 --seed 2".
	$(BIN)/python -m tools.fuzzing $(ARGS)

soak: $(VENV)/.test ## Let clients of every kind use and abuse a server, for two hours; ARGS="--minutes 10 --load 1".
	PYTHONPATH=benchmarks $(BIN)/python -m tools.soak $(ARGS)

pettingzoo-tests: $(VENV)/.test ## Run PettingZoo's own tests with remote environments, and write their page; ARGS="mpe2:*" for some.
	$(BIN)/python -m tools.pettingzoo_suite $(ARGS)

gymnasium-tests: $(VENV)/.test ## Run Gymnasium's own tests with remote environments; ARGS="--suite CHECKOUT" for a checkout that is there.
	$(PIP) install array-api-compat dill matplotlib opencv-python-headless seaborn
	PYTHONPATH=conformance $(BIN)/python -m tools.gymnasium_suite $(ARGS)

lint: $(VENV)/.lint ## Check style, types and spelling.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(SOURCES)
	$(BIN)/codespell

docs: $(VENV)/.docs ## Build the pages into docs/_build/html; a warning is an error.
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --fresh-env -b html docs docs/_build/html

screenshots: $(VENV)/.test ## Take the pictures of the web page for the docs; this needs Debian's chromium and chromium-driver.
	$(BIN)/python -m tools.screenshots

figures: $(SERVE) ## Measure what the server costs, in three to four minutes; ARGS=--quick for less.
	$(BIN)/python benchmarks figures $(ARGS)

bench: ## Compare with the alternatives, in more than half an hour; ARGS=--quick for less.
	$(PYTHON) benchmarks compare $(ARGS)

clean: ## Remove everything that was made, the virtual environment included.
	rm -rf build dist *.egg-info conformance/build conformance/*.egg-info client/build client/*.egg-info .bench/venvs .packages .recipes .gymnasium-tests docs/_build htmlcov .coverage .coverage.* .hypothesis
	rm -rf MUJOCO_LOG.TXT .mypy_cache .pytest_cache .ruff_cache twisted/plugins/dropin.cache
	find gymtwist twisted conformance tests benchmarks tools docs -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
	if [ -e $(VENV)/pyvenv.cfg ]; then rm -rf $(VENV); fi

# For .ci/run: one installation instead of six, which leaves it to the first import to compile a module.
everything: NEEDED := $(FOR_TESTS),learning,ray,lint,docs
everything: $(MADE)
	$(PIP) install --no-compile '$(TORCH)' --editable '.[$(NEEDED)]' --editable ./conformance
	@touch $(VENV)/.test $(VENV)/.ray $(VENV)/.lint $(VENV)/.docs

$(SERVE): NEEDED := $(EXTRAS)
$(VENV)/.test: NEEDED := $(FOR_TESTS)
$(VENV)/.lint: NEEDED := atari,display,lint,test
$(VENV)/.docs: NEEDED := docs
# The conformance checks and their reference client are a distribution of their own.
$(VENV)/.test $(VENV)/.lint: BESIDE := --editable ./conformance

$(SERVE) $(VENV)/.test $(VENV)/.lint $(VENV)/.docs: $(MADE) $(METADATA)
	@echo 'installing gymtwist[$(NEEDED)] into $(VENV), which may take a few minutes the first time'
	$(PIP) install --editable '.[$(NEEDED)]' $(BESIDE)
	@touch $@

# What is installed is told here, and the client, a copy, by its sources.
$(RECIPES:%=.recipes/%/.made): LIBRARY = $*
.recipes/pufferlib/.made: LIBRARY = pufferlib-core
.recipes/ray/.made: LIBRARY = ray[rllib]
$(RECIPES:%=.recipes/%/.made): .recipes/%/.made: $(firstword $(MAKEFILE_LIST))
	$(PYTHON) -m venv --clear .recipes/$*
	.recipes/$*/bin/python -m pip --disable-pip-version-check install '$(TORCH)' '$(LIBRARY)' './client[multi-agent]' 'mpe2>=1.1'
	@touch $@

.recipes/%/.installed: .recipes/%/.made $(CLIENT)
	.recipes/$*/bin/python -m pip --disable-pip-version-check install --force-reinstall --no-deps ./client
	@touch $@

# pip learned to install an editable project without a setup.cfg, as here, in 21.3: an older one is replaced.
$(MADE):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo 'gymtwist needs Python 3.10 or later; choose one with make PYTHON=python3.12 ...' >&2; exit 1; }
	@if [ -e $(VENV) ] && [ ! -e $(VENV)/pyvenv.cfg ]; then \
	  echo '$(VENV) is there and is no virtual environment; choose another with make VENV=...' >&2; exit 1; fi
	@echo 'making the virtual environment $(VENV)'
	@$(PYTHON) -m venv --clear $(VENV) \
	  || { rm -rf $(VENV); echo 'On Debian and Ubuntu this needs: apt install python3-venv' >&2; exit 1; }
	@$(PIP) install --upgrade pip \
	  || $(BIN)/python -c 'import pip, sys; sys.exit(tuple(map(int, pip.__version__.split(".")[:2])) < (21, 3))' \
	  || { echo 'pip is older than 21.3 and could not be replaced' >&2; exit 1; }
	@touch $@

# The commands of this project. `make demo` and `make test`, each alone, do all the set-up; docs/setup.md says what
# they do to a machine. Needs git, make and Python 3.11 or newer; everything else is brought along.

.DEFAULT_GOAL := help
# The steps of a target depend on the order in which they are listed. Whether there is an engine is told before anything
# is downloaded: it needs nothing of ours, and its want is what stops most people.
.NOTPARALLEL:
.PHONY: help setup engine engine-remove images demo test test-long check lint bench storm soak lock build clean

PY := .venv/bin/python
# Those that need no engine come first, so that a plain mistake is told early; a new folder joins by itself.
FAST := tests/unit tests/exhaustive tests/property tests/simulation tests/contract tests/integration
# Early, so that the others do not wait for them at the end.
SLOWEST := tests/faults
REST := $(filter-out $(FAST) $(SLOWEST) tests/demo tests/fixtures tests/__pycache__,$(patsubst %/,%,$(sort $(wildcard tests/*/))))
# A file of tests stays in one process, for what its tests share.
# Where one of the processes dies, the run ends and says so: handing its tests on, xdist can wait for ever.
BY_FILE := --dist loadfile --no-loadscope-reorder --max-worker-restart=0
# Many wait for the engine more than they compute; those that take long do both.
PARALLEL := -n 3 $(BY_FILE)
PARALLEL_LONG := -n 2 $(BY_FILE)
PYTEST_ARGS ?=

help: ## list the targets (the default)
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1|\2/p' Makefile | awk -F '|' '{ printf "%-20s %s\n", $$1, $$2 }'

setup: ## make the Python environment .venv from the locked packages
	@.ci/python-env

engine: ## make sure that a container engine answers; as root, start or install one
	@.ci/engine up

engine-remove: ## undo what `make engine` did to this machine
	@.ci/engine remove

images: engine setup ## make the base image and the agents volume
	@$(PY) -m sandbox.images

demo: engine setup images ## show a real agent at work in a container, without any API key
	@$(PY) -m tests.demo

test: engine setup lint images ## prove that it is sound: lint, then all tests (PYTEST_ARGS="-k name -x")
	@$(PY) -m pytest $(FAST) $(SLOWEST) $(REST) $(PARALLEL) $(PYTEST_ARGS)

test-long: engine setup images ## the tests that take too long for every day; they print their figures
	@$(PY) -m pytest $(SLOWEST) $(FAST) $(REST) --long -m long -rP $(PARALLEL_LONG) $(PYTEST_ARGS)

check: setup lint ## the tests that need no engine, for the loop while editing
	@$(PY) -m pytest $(FAST) -m "not docker" $(PARALLEL) $(PYTEST_ARGS)

lint: setup ## ruff, mypy and the import contracts
	@$(PY) -m ruff check . .ci
	@$(PY) -m ruff format --check . .ci
	@$(PY) -m mypy
	@$(PY) -m mypy .ci/hostsetup
	@.venv/bin/lint-imports

bench: engine setup images ## record the figures of tests/bench
	@$(PY) -m tests.bench

SEED ?= 1
COUNT ?= 60
STORM_ARGS ?=
storm: engine setup ## faults at random from SEED, COUNT of them, and the judgement of what they left
	@$(PY) -m tests.faults.storm $(SEED) $(COUNT) $(STORM_ARGS)

SECONDS ?= 1800
AGENTS ?= 20
soak: engine setup ## AGENTS agents for SECONDS, and what their daemon holds on to afterwards
	@$(PY) -m tests.faults.storm.soak $(SECONDS) $(AGENTS)

lock: ## resolve requirements/*.lock anew (needs uv; newer versions with LOCK_ARGS=--upgrade)
	@.ci/lock $(LOCK_ARGS)

build: setup ## make the wheel and the source archive in dist/
	@$(PY) -m hatchling build

clean: ## delete what was made in this folder, .venv included
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis sandbox/programs/bin
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

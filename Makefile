# Everything a checkout can do. Set-up is stamped: it runs again only when what it depends on has changed.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
DEMOS := $(wildcard demo_notebooks/*.ipynb)

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# The labextension's build and git's `git theta` both look for commands on PATH.
export PATH := $(CURDIR)/.venv/bin:$(PATH)

PYTHON_READY := .venv/.stamp
NODE_READY := node_modules/.package-lock.json
LABEXTENSION := theta_jupyter/labextension/package.json
VIEWS := theta_jupyter/static/views.js
OLDEST := .venv-oldest/.stamp

.PHONY: help setup demo test soak lint lab bench clean

help:
	@echo 'make setup   .venv, node_modules, the labextension, and chromium and git-lfs where apt-get may install them'
	@echo 'make demo    run demo_notebooks/ top to bottom and write build/demo/*.html'
	@echo 'make test    lint, then every test (JOBS=$(JOBS) processes)'
	@echo 'make soak    the long form of what tests do in short: 1,000 random histories, every write point, 8 processes (hours)'
	@echo 'make lint    ruff, mypy, import-linter, tsc, eslint, prettier'
	@echo 'make lab     open JupyterLab on demo_notebooks/'
	@echo 'make bench   measure us beside our peers (BENCH="..." for its options)'
	@echo 'make clean   remove what was built, but not .venv and node_modules'

# ---------------------------------------------------------------- set-up

setup: $(LABEXTENSION) $(VIEWS) .venv/.system

# torch goes first and alone, so that its version is decided before anything else asks for one. The labextension is
# built below, from the lock file; the editable install need not build it too.
$(PYTHON_READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	HATCH_JUPYTER_BUILDER_SKIP_NPM=1 \
	.venv/bin/pip install --quiet --disable-pip-version-check -c constraints.txt --editable '.[test,lint]'
	touch $@

# npm writes this file itself, when it is done.
$(NODE_READY): package-lock.json .npmrc
	npm ci --no-audit
	touch $@

# Built, and linked into .venv in place of the copy that the editable install made.
$(LABEXTENSION): $(PYTHON_READY) $(NODE_READY) package.json tsconfig.json $(shell find labextension/src labextension/style -type f)
	npm run --silent build:prod
	jupyter-builder develop --overwrite
	touch $@

# The build above makes these too: what a kernel sends to a page that has no labextension.
$(VIEWS): $(LABEXTENSION)
	test -e $@ || npm run --silent build:widget -- --minify
	touch $@

# Browser tests need Chromium, push and fetch need Git LFS. Neither can come from a package registry.
.venv/.system: $(PYTHON_READY)
	@missing=(); \
	command -v chromium chromium-browser google-chrome >/dev/null || missing+=(chromium); \
	command -v git-lfs >/dev/null || missing+=(git-lfs); \
	if (( $${#missing[@]} == 0 )); then \
	  touch $@; \
	elif [[ $$(id -u) == 0 ]] && command -v apt-get >/dev/null; then \
	  apt-get update --quiet=2; \
	  DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends "$${missing[@]}"; \
	  touch $@; \
	else \
	  echo "Please install: $${missing[*]}. Until then the tests that need them are skipped."; \
	fi

# The oldest JupyterLab and Notebook that pyproject.toml admits, to be started beside the current ones; whatever else
# they need comes from .venv.
$(OLDEST): $(PYTHON_READY)
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/pip install --quiet --disable-pip-version-check 'jupyterlab==4.2.0' 'notebook==7.2.0'
	.venv/bin/python -c 'import site; print(f"import site; site.addsitedir({site.getsitepackages()[0]!r})")' \
	  >"$$(.venv-oldest/bin/python -c 'import site; print(*site.getsitepackages())')/beside.pth"
	touch $@

# ---------------------------------------------------------------- what people ask for

lint: setup
	ruff check
	ruff format --check
	mypy
	lint-imports
	npm run --silent lint

# The browser's tests have a run of their own: one browser, one JupyterLab, and Playwright's event loop to themselves.
test: lint $(OLDEST)
	npm run --silent test
	pytest -n $(JOBS) --ignore=tests/ui
	pytest tests/ui

soak: setup
	THETA_HISTORIES=$(or $(HISTORIES),1000) THETA_SOAK=1 pytest -n $(JOBS) tests/e2e/test_histories.py tests/e2e/test_killed.py \
	  tests/e2e/test_together.py

demo: setup
	printf '%s\n' $(DEMOS) | xargs -n 1 -P $(JOBS) \
	  jupyter nbconvert --to html --execute --ExecutePreprocessor.timeout=900 --output-dir build/demo
	@echo
	@echo 'Read them:  $(foreach demo,$(DEMOS),build/demo/$(notdir $(demo:.ipynb=.html)))'
	@echo 'Live them:  make lab'

lab: setup
	jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) demo_notebooks

bench: setup
	python -m benchmarks $(BENCH)

clean:
	rm -rf build dist labextension/lib theta_jupyter/labextension theta_jupyter/static .hypothesis .import_linter_cache \
	  .mypy_cache .pytest_cache .ruff_cache
	find theta_jupyter tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

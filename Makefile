# Everything starts here; each target sets up what it needs by itself. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# TensorFlow must load Keras 2 (features/environment.py says why).
export TF_USE_LEGACY_KERAS := 1

ROOMS := features models pipeline serving
BIN := .venv/bin
INSTALLED := .venv/.installed

# A uv on the PATH may be a shim that cannot run: ask it.
UV := $(shell uv --version >/dev/null 2>&1 && echo uv || echo .tools/bin/uv)
NO_UV := feedrank is installed with uv, which is not here. Install it, then try again:  curl -LsSf https://astral.sh/uv/install.sh | sh   (or, on Debian, what builds it here:  apt-get install python3-venv)

# Where Python may keep no bytecode (many containers), every start would compile TensorFlow and TFX again: 20 s each time.
COMPILED := $(if $(PYTHONDONTWRITEBYTECODE),--compile-bytecode)

.PHONY: help install demo test check lint format clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18

install: $(INSTALLED)  ## the environment alone (.venv)

demo: $(INSTALLED)  ## a synthetic feed log through the whole pipeline, then five scored items
	@$(BIN)/feedrank run pipeline/configs/demo.yaml
	@$(BIN)/feedrank score runs/demo/serving --data data/demo --top 5

test: lint  ## every check: format, lint, strict types, architecture, unit and end-to-end tests
	$(BIN)/pytest -n 2 --dist loadfile --durations=25 --durations-min=5

check: lint  ## every check but the slow tests
	$(BIN)/pytest -n 2 --dist loadfile -m "not slow"

lint: $(INSTALLED)  ## format check, lint and strict types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(ROOMS)

format: $(INSTALLED)  ## put the code into its format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove caches and builds; .venv, data/ and runs/ stay
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -not -path './.tools/*' -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml uv.lock | $(filter .tools/bin/uv,$(UV))
	$(UV) sync --frozen --extra pipeline $(COMPILED)
	@touch $@

.tools/bin/uv:
	@python3 -m venv .tools || { echo "$(NO_UV)" >&2; exit 1; }
	@.tools/bin/pip install --quiet --disable-pip-version-check uv || { echo "$(NO_UV)" >&2; exit 1; }

# make lab        the dashboards on http://127.0.0.1:8866 (PORT=…, ENGINE_PORT=…)
#                 for a class: CLASS=1, with HOST=… VISITORS=… FIRST=01_entropy TOKEN=… as you like
# make notebook   the same notebooks in JupyterLab
# make test       every test, those in a real browser included; three at a time (THOROUGH=1: the long loops at full length)
# make clean      remove what these made

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
PYTHONS := $(PYTHON) python3.11 python3.12 python3.13 python3
PORTS = $(if $(PORT),--port $(PORT)) $(if $(ENGINE_PORT),--engine-port $(ENGINE_PORT))
COMERS = $(if $(HOST),--host $(HOST)) $(if $(VISITORS),--visitors $(VISITORS)) $(if $(FIRST),--first $(FIRST)) $(if $(TOKEN),--token $(TOKEN))

.PHONY: lab notebook test clean

lab: $(STAMP)
	@exec $(BIN)/labkit lab $(PORTS) $(if $(CLASS),--class $(COMERS))

notebook: $(STAMP)
	@exec $(BIN)/labkit notebook --open $(PORTS)

test: $(STAMP)
	LABKIT_THOROUGH=$(THOROUGH) $(BIN)/python -m pytest -q -n 3 --dist worksteal

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp makes a second start quick; a changed pin or a changed pyproject installs again.
$(STAMP): requirements.lock pyproject.toml
	@set -e; \
	for python in $(PYTHONS); do \
	  if $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "Token Lab needs Python 3.11 or newer with venv: install it (Debian: apt install python3-venv) or give PYTHON=/its/path." >&2; \
	  exit 1; \
	fi; \
	echo "Installing into $(VENV) with $$($$found --version); the first time takes some minutes."; \
	$$found -m venv $(VENV); \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .; \
	touch $@

# `make demo` sets up what painting needs and paints a sample, `make why` explains it, `make test` sets up the rest and passes
# the tests but for the longest, which `make test-all` passes too, `make docs` sets up and builds the documentation's pages into site/.
PYTHON ?= python3.11
VENV := .venv
TESTS := -n auto --maxprocesses 4 --dist worksteal

# What painting needs, and no more. Modules are compiled when they are first imported: most never are.
$(VENV)/light: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install -q --no-compile -c constraints.txt -e .
	touch $@

$(VENV)/ready: $(VENV)/light
	$(VENV)/bin/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@

demo: $(VENV)/light
	$(VENV)/bin/underpaint demo --out out/demo

why: $(VENV)/light
	$(VENV)/bin/underpaint demo --explain --out out/demo-why

docs: $(VENV)/ready
	$(VENV)/bin/mkdocs build --quiet --strict --site-dir site

test: $(VENV)/ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/python -m pytest $(TESTS)

test-all: $(VENV)/ready
	$(VENV)/bin/python -m pytest -m "" $(TESTS)

.PHONY: demo why docs test test-all

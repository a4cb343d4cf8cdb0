# `make demo` sets up and paints a sample, `make why` explains it, `make test` sets up and passes the tests,
# `make docs` sets up and builds the documentation's pages into site/.
PYTHON ?= python3.11
VENV := .venv

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@

demo: $(VENV)/ready
	$(VENV)/bin/underpaint demo --out out/demo

why: $(VENV)/ready
	$(VENV)/bin/underpaint demo --explain --out out/demo-why

docs: $(VENV)/ready
	$(VENV)/bin/mkdocs build --quiet --strict --site-dir site

test: $(VENV)/ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/python -m pytest

.PHONY: demo why docs test

PYTHON ?= python3.11
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: setup reproduce test lint

setup: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet -r requirements.lock
	.venv/bin/python -m pip install --quiet --no-deps -e .
	.venv/bin/python -m pip check
	touch $@

reproduce: setup
	dvc repro
	@echo "The report: $(CURDIR)/report/index.html"

test: setup
	python -m pytest

lint: setup
	ruff check .
	ruff format --check .

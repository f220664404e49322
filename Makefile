PYTHON ?= python3.11
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: setup reproduce study test test-mmpretrain test-slurm test-faults mutants fuzz lint docs

setup: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet -r requirements.lock
	.venv/bin/python -m pip install --quiet --no-deps -e .
	.venv/bin/python -m pip check
	touch $@

# DVC asks for git unless told otherwise; a source archive has none.
reproduce: setup
	@test -e .git || dvc config --local core.no_scm true
	dvc repro
	@echo "The report: $(CURDIR)/report/index.html"

test: setup
	python -m pytest -m "not slurm and not faults" -n 2 --dist loadfile

# Kills, full disks and the like; docs/reliability.md says what came out.
test-faults: setup
	python -m pytest -m faults -rs

# Lines of the package broken on purpose (tests/mutants/*.toml): the tests must notice each.
mutants: setup
	python tests/mutants/run.py

# Damaged files for every reader: each must end in a result or in one line.
fuzz: setup
	python tests/fuzz/run.py

# The DAG on a Slurm of this machine: needs root, slurm-wlm and munge, and says so.
test-slurm: setup
	python -m pytest -m slurm -rs

# Against the real mmpretrain, and timm, in an environment of its own over the main one's packages.
test-mmpretrain: .venv-mmpretrain/installed
	python -m pytest -m mmpretrain

.venv-mmpretrain/installed: tests/adapters/mmpretrain/requirements.txt .venv/installed
	$(PYTHON) -m venv .venv-mmpretrain
	.venv/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" \
		> .venv-mmpretrain/lib/python3.11/site-packages/main.pth
	.venv-mmpretrain/bin/python -m pip install --quiet --no-deps -r $<
	touch $@

# The documentation, in site/index.html; `mkdocs serve` while writing, which also has search.
docs: setup
	mkdocs build --strict

# Hours: every head and variant with many seeds; writes docs/study.md.
study: setup
	python -m workflow.study run synthetic
	python -m workflow.study page synthetic

lint: setup
	ruff check .
	ruff format --check .
	mypy

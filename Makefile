PYTHON ?= python3.11
export PATH := $(CURDIR)/.venv/bin:$(PATH)

SHOW ?= lh2face/.*verification.tar.0.001$$
.PHONY: help experiments setup reproduce study test test-mmpretrain test-slurm test-faults mutants fuzz lint docs

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/installed ## Make .venv with everything (about 1 GB of packages)

.venv/installed: requirements.lock pyproject.toml
	@echo "Setting up .venv: about 1 GB of packages, some minutes. It happens once."
	@echo "After the line 'Installing collected packages' pip says nothing for most of that time."
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --disable-pip-version-check -r requirements.lock
	.venv/bin/python -m pip install --quiet --no-deps -e .
	.venv/bin/python -m pip check
	touch $@
	@echo "Ready. To use lh2face and dvc in this shell: . .venv/bin/activate"

# DVC requires git unless it is configured otherwise; a source archive has no git.
reproduce: setup ## The pipeline with params.yaml; SEEDS=5 trains each head five times
	@test -e .git || dvc config --local core.no_scm true
	python workflow/reproduce.py $(if $(SEEDS),--seeds $(SEEDS))
	@echo "The report: $(CURDIR)/report/index.html"

test: setup ## The tests
	python -m pytest -m "not slurm and not faults" -n 2 --dist loadfile

test-faults: setup ## Kills, full disks and the like; docs/reliability.md says what came out
	python -m pytest -m faults -rs

mutants: setup ## Lines of the package broken on purpose: the tests must notice each
	python tests/mutants/run.py

fuzz: setup ## Damaged files for every reader: each must end in a result or in one line
	python tests/fuzz/run.py

test-slurm: setup ## The DAG on a Slurm of this machine; needs root, slurm-wlm and munge
	python -m pytest -m slurm -rs

test-mmpretrain: .venv-mmpretrain/installed ## The heads in the real mmpretrain, in an environment of its own
	python -m pytest -m mmpretrain

.venv-mmpretrain/installed: tests/adapters/mmpretrain/requirements.txt .venv/installed
	$(PYTHON) -m venv .venv-mmpretrain
	.venv/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" \
		> .venv-mmpretrain/lib/python3.11/site-packages/main.pth
	.venv-mmpretrain/bin/python -m pip install --quiet --no-deps -r $<
	touch $@

# `mkdocs serve` while writing.
docs: setup ## The documentation, site/index.html
	mkdocs build --strict

experiments: ## A table of `dvc exp run`: what changed, and SHOW of the figures
	@dvc exp show --only-changed --drop '(?!(params.yaml:)?[a-z0-9_]+[.][^/:]+$$)' \
		--keep 'Experiment|Created|.*($(SHOW))'

study: setup ## Hours: every head and variant with many seeds; writes docs/study.md
	python -m workflow.study run synthetic
	python -m workflow.study page synthetic

lint: setup ## Style and types
	ruff check .
	ruff format --check .
	mypy

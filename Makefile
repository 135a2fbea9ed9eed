# Two commands do everything: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV ?= .venv
READY := $(VENV)/.complete
APT := DEBIAN_FRONTEND=noninteractive apt-get
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help demo serve test services lint bench clean

help:
	@echo "make demo      set up, make a small real input, run the main job, print what happened"
	@echo "make serve     the same stack left running, with Prefect's page"
	@echo "make test      set up, run all tests that need no server and no program"
	@echo "make services  install the real servers and programs from Debian (root)"
	@echo "make lint      format, lint, types, architecture"
	@echo "make bench     our share of the wall time beside the programs' own; typing beside BLAST;"
	@echo "               a night beside plain Prefect and Celery; messages and requests beside Prefect's"
	@echo "               workers, Celery and zocalo's (over an hour, needs redis-server)"

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "limsflow needs Python 3.11"'
	@echo "Setting up $(VENV) (about a minute) ..."
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || sh deployments/debian.sh venv
	@rm -rf $(VENV) && $(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/pip install --quiet --quiet --no-deps --requirement requirements.lock
	@$(VENV)/bin/pip install --quiet --quiet --no-deps --no-build-isolation --editable .
	@touch $(READY)

demo: $(READY)
	@sh deployments/debian.sh dials
	@$(VENV)/bin/limsflow demo

serve: $(READY)
	@sh deployments/debian.sh dials
	@$(VENV)/bin/limsflow serve

test: $(READY)
	$(VENV)/bin/pytest -m "not services"

services:
	@sh deployments/debian.sh services
	@PYTHON=$(PYTHON) sh deployments/debian.sh sistr .venv-sistr

lint: $(READY)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/pyright
	$(VENV)/bin/lint-imports

bench: $(READY)
	$(VENV)/bin/python -m tests.benchmarks.share_of_wall_time
	$(VENV)/bin/python -m tests.benchmarks.typing
	$(VENV)/bin/python -m tests.benchmarks.night
	$(VENV)/bin/python -m tests.benchmarks.asked

clean:
	rm -rf $(VENV) .venv-sistr limsflow-demo limsflow-home

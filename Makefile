# Every target is one command that also works by hand. `make help` lists them.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
PINS   := deploy/constraints/dev.txt
EXTRAS := gateway,node,train,export,bench,dev
PIP    := $(BIN)/pip install --quiet --disable-pip-version-check --no-compile --constraint $(PINS)
# Where PyTorch's CPU build lives, if your package index holds only the CUDA one (see README).
TORCH  := torch==2.13.0 $(if $(WEIR_TORCH_INDEX),--extra-index-url $(WEIR_TORCH_INDEX))

PYTEST := $(BIN)/python -m pytest
JOBS   ?= 3  # tests mostly wait; what measures time runs afterwards, alone

# The engine's operators are built by the installation (hatch_build.py).
KERNELS := $(foreach folder,services/weir/engine/kernels services/weir/guard/native,$(wildcard $(folder)/*.c $(folder)/*.h $(folder)/build.py))

.PHONY: help gpu up test unit lint fix e2e e2e-clients bench soak soak-full fuzz triton constraints install guard-tables chart images dashboards
.DEFAULT_GOAL := help

help:  ## Show this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(VENV)/.installed  ## Make the environment (.venv)

$(VENV)/.installed: pyproject.toml hatch_build.py $(PINS) $(KERNELS)
	@echo "making $(VENV) (a few minutes the first time) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) $(TORCH)
	@$(PIP) --editable '.[$(EXTRAS)]'
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true  # pip would do that on one core
	@touch $@

up: install  ## Train, prove and serve the demo on this machine, until Ctrl-C
	@exec $(BIN)/weir up

test: install lint  ## The whole suite
	@trap 'exit 130' INT; code=0; \
	$(PYTEST) -n $(JOBS) -m 'not soak and not timed' || code=1; \
	$(PYTEST) -m 'timed and not soak' || code=1; exit $$code

unit: install  ## The fast tests alone
	$(BIN)/python -m pytest tests/unit

lint: install  ## Format check, lint, types, import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

fix: install  ## Format and mend what can be mended
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

e2e: install  ## The tests that start real processes
	$(BIN)/python -m pytest tests/e2e

bench: install  ## Measure this machine (docs/benchmarks.md)
	$(BIN)/python -m tests.bench.spine

soak: install  ## Tests longer than the suite allows
	$(BIN)/python -m pytest -m soak

e2e-clients: install  ## The real clients, each in an environment of its own
	$(BIN)/python -m pytest tests/e2e/clients

triton: install  ## Weir's model under a real Triton server, on the CPU
	$(BIN)/python -m pytest tests/e2e/triton_server

gpu:  ## On a machine with an NVIDIA GPU: an environment, the GPU's tests, and the table for docs/benchmarks.md
	tools/gpu_session.sh

chart: install  ## Renew the chart's schema and table of values from the settings classes
	$(BIN)/python tools/chart.py

fuzz: install  ## 10,000 requests that nobody should send
	$(BIN)/python -m pytest tests/fuzz -s --fuzz-cases 10000

soak-full: install  ## 20 rolling restarts; 30 minutes of load while a node is killed every minute
	$(BIN)/python -m pytest tests/soak -m soak -s --soak-minutes 30 --soak-kill-every-s 60 --soak-restarts 20

images: install  ## The images of gateway and CPU node, with or without a Docker engine
	$(BIN)/python tools/build_images.py

constraints: install  ## Renew the pins from what is installed, and those of the images
	@( echo '# What development, CI and `make up` install, exactly. Renew: make constraints'; \
	  $(BIN)/pip freeze --exclude-editable | sed 's/+cpu$$//' ) > $(PINS)
	$(BIN)/python tools/image_constraints.py

guard-tables: install  ## Renew the guard's character tables from Unicode and OpenCC data
	$(BIN)/python tools/guard_tables.py

dashboards: install  ## Write grafana/dashboards from tools/dashboards
	$(BIN)/python -m tools.dashboards

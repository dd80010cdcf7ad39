# Two commands matter: `make demo` and `make test`. Everything lands in .venv and out/.
PYTHON ?= python3
VENV ?= .venv
OUT ?= out
TEST_PROCESSES ?= 2
BIN := $(VENV)/bin
export MUJOCO_GL ?= egl

.PHONY: demo test test-slow lint train-demo benchmark benchmark-ranking benchmark-sampler benchmark-horizon benchmark-synthesis faults fuzz soak clean help

help:  ## list these targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

$(VENV)/.installed: pyproject.toml constraints.txt scripts/system-packages.sh
	PYTHON=$(PYTHON) scripts/system-packages.sh
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[ui,dev]'
	# Their own dependencies would hold numpy back. Of robosuite only the Panda's MJCF file is used; openpi's client
	# is what the tests hold ours against.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt robosuite openpi-client
	touch $@

demo: $(VENV)/.installed  ## rank policies end to end: out/demo/report.html (EPISODES=PATH for your own videos)
	$(BIN)/dreamarena demo --out $(OUT)/demo $(if $(EPISODES),--episodes $(EPISODES))

train-demo: $(VENV)/.installed  ## record, train and calibrate what the demo ships
	$(BIN)/dreamarena train-demo --out $(OUT)/train-demo

test: $(VENV)/.installed  ## the tests
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile -m "not slow"

test-slow: $(VENV)/.installed  ## the tests that take more than half a minute each
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.installed  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

benchmark: $(VENV)/.installed  ## speed: docs/benchmarks/imagination.json
	$(BIN)/python benchmarks/imagination.py

benchmark-ranking: $(VENV)/.installed  ## does the ranking agree with reality: docs/benchmarks/ranking.json and its page
	$(BIN)/python benchmarks/ranking.py

benchmark-sampler: $(VENV)/.installed  ## few denoising steps against the released procedure: docs/benchmarks/sampler.json
	$(BIN)/python benchmarks/sampler.py

benchmark-horizon: $(VENV)/.installed  ## rollouts of 20 s: docs/benchmarks/horizon.json
	$(BIN)/python benchmarks/horizon.py

benchmark-synthesis: $(VENV)/.installed  ## do synthetic successes make a policy better: docs/benchmarks/synthesis.json
	$(BIN)/python benchmarks/synthesis.py

faults: $(VENV)/.installed  ## every fault of docs/reliability.md, for real: docs/benchmarks/faults.json and its table
	$(BIN)/python benchmarks/faults.py

fuzz: $(VENV)/.installed  ## five minutes of hostile messages and files: docs/benchmarks/fuzz.json
	$(BIN)/python benchmarks/fuzz.py

soak: $(VENV)/.installed  ## ten minutes of workers that are killed: docs/benchmarks/soak.json
	$(BIN)/python benchmarks/soak.py

clean:  ## remove what was made, not the virtual environment
	rm -rf $(OUT)

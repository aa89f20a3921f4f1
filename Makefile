# Everything a newcomer or CI needs, from a bare checkout: uv or Python 3.11, and a package index.
VENV := .venv
BIN := $(VENV)/bin
# Two workers of one thread each share two cores best.
TESTS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal
OTHERWISE := tests/evals tests/hooks tests/methods tests/reference tests/saes tests/store tests/training
SMOKE := --finetune.epochs 3 --finetune.lr 2e-3 --data.max_train_texts 1500 --data.max_test_texts 300 --train.total_samples 100000

.PHONY: demo test test-all test-otherwise test-lowest robust lint smoke check bench docs clean

demo: $(VENV)/.demo  ## The whole job on BBC news: five to ten minutes on two cores.
	$(BIN)/sae-lens-classif demo

test: $(VENV)/.dev  ## The test suite without what is marked as slow: three to six minutes on two cores.
	$(TESTS)

test-all: $(VENV)/.dev  ## The whole test suite.
	$(TESTS) -m ''

test-otherwise: $(VENV)/.dev  ## What computes, with another rounding, two threads and in random order (it prints the seed).
	ATEN_CPU_CAPABILITY=default OMP_NUM_THREADS=2 $(BIN)/python -m pytest --random-order $(OTHERWISE)

test-lowest: build/lowest/.dev  ## The test suite with the oldest releases that pyproject.toml allows; they may warn.
	OMP_NUM_THREADS=1 build/lowest/bin/python -m pytest -n 2 --dist worksteal -W default

robust: $(VENV)/.dev  ## Kills, damaged files, commands that meet, strange inputs: some hours; see docs/reliability.md.
	mkdir -p build
	printf '%s\n' kills flips pairs fuzzing | OMP_NUM_THREADS=1 xargs -P 2 -I PART sh -c \
		'$(BIN)/python -W ignore -m tests.robustness.PART --seed 0 > build/robust-PART.txt 2> build/robust-PART.log'; \
		code=$$?; cat build/robust-*.txt; exit $$code

lint: $(VENV)/.dev  ## Formatter, linter, strict type checker.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

smoke: $(VENV)/.dev  ## A short run from texts to evaluated concepts, in a folder of its own, then again.
	rm -rf runs/smoke
	$(BIN)/sae-lens-classif demo --run runs/smoke $(SMOKE)
	$(BIN)/sae-lens-classif demo --run runs/smoke $(SMOKE)

check: lint smoke test-all test-otherwise  ## Exactly what CI runs.

bench: $(VENV)/.dev  ## Speed, memory and growth, as tables: an hour on two idle cores, 5 GB of disk.
	for script in training_step caching evaluations training_memory scale; do \
		$(BIN)/python benchmarks/$$script.py || exit 1; done

docs: $(VENV)/.dev  ## The documentation with its reference, in build/docs/html.
	$(BIN)/python -m sphinx -W --keep-going docs build/docs/html

clean:  ## Remove what these commands made, but for runs/.
	rm -rf $(VENV) build dist *.egg-info

$(VENV)/.demo: pyproject.toml constraints.txt
	tools/install.sh $(VENV) constraints.txt demo
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	tools/install.sh $(VENV) constraints.txt dev
	touch $@

build/lowest/.dev: pyproject.toml constraints-lowest.txt
	tools/install.sh build/lowest constraints-lowest.txt dev
	touch $@

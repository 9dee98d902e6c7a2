# make demo   embed two real genomes and draw one of them (into ./demo)
# make test   all tests       make test-slow   the long proofs as well
# make lint   style, imports  make types       mypy, strict
# make bench  speed on this machine, as JSON and a table in benchmarks/results
# make clean  remove what these targets made

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
GENOMES := data/genomeconv_data/genomes
# A test process takes one thread: several of them share the cores.
TESTFLAGS ?= -n 2
test test-slow: export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-slow lint types bench clean

# A stamp an environment: the same folder, with what a target needs installed.
$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e ".[plot,anndata]"
	touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	touch $@ $(VENV)/.demo

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

demo: $(VENV)/.demo
	mkdir -p demo
	$(BIN)/genomeconv embed $(GENOMES)/lambda.fa.gz -o demo/lambda.h5 --overwrite
	$(BIN)/genomeconv embed $(GENOMES)/GRCh37.DMD.fa.gz -o demo/DMD.h5 --overwrite
	$(BIN)/genomeconv info demo/DMD.h5
	$(BIN)/python -c "from genomeconv.plot import embeddings_along as draw; \
	  draw('demo/lambda.h5', 'demo/lambda.png'); draw('demo/DMD.h5', 'demo/DMD.png')"
	@echo "Look at demo/DMD.png: the embeddings along the dystrophin gene."

test: $(VENV)/.dev
	$(BIN)/python -m pytest $(TESTFLAGS) -m "not slow"

test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest $(TESTFLAGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

types: $(VENV)/.dev
	$(BIN)/mypy

bench: $(VENV)/.demo
	$(BIN)/python benchmarks/run.py $(BENCHFLAGS)

clean:
	rm -rf $(VENV) demo build dist .pytest_cache .mypy_cache .ruff_cache \
	  .import_linter_cache .hypothesis

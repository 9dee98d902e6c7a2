# make demo   embed two real genomes and draw one of them (into ./demo)
# make test   all tests       make test-slow   the long proofs as well
# make test-faults  a fault at every call that writes, every mutant of an output
# make test-soak    200 kills in one job, and what they cost
# make test-minimum the tests with the oldest dependencies that are declared
# make fuzz   SECONDS=60 for each target: look for inputs that break a promise
# make lint   style, imports, bandit            make types  mypy, strict
# make locked the environment of .ci/requirements.lock, hash by hash; make lock makes it
# make bench  speed on this machine, as JSON and a table in benchmarks/results
# make aot    compile every planned GPU kernel, without a GPU, and check them
# make bench-gpu  on a GPU: correctness, speed, cross-overs (needs torch and triton only)
# make clean  remove what these targets made

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
GENOMES := data/genomeconv_data/genomes
# A test process takes one thread: several of them share the cores.
TESTFLAGS ?= -n 2
SECONDS ?= 60
test test-slow test-faults test-minimum fuzz: export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-slow test-faults test-soak test-minimum fuzz lint lock locked \
  types bench aot bench-gpu clean

# A stamp an environment: the same folder, with what a target needs installed.
$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e ".[plot,anndata]"
	touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	touch $@ $(VENV)/.demo

$(VENV)/.fuzz: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet -e ".[fuzz]"
	touch $@

$(VENV)/constraints.txt: .ci/minimum.py pyproject.toml | $(BIN)/python
	$(BIN)/python .ci/minimum.py $(FREE) > $@

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
	$(BIN)/python -m pytest $(TESTFLAGS) -m "not slow and not soak"

test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest $(TESTFLAGS) -m "not soak"

test-faults: $(VENV)/.dev
	$(BIN)/python -m pytest $(TESTFLAGS) -m "not soak" tests/faults

test-soak: $(VENV)/.dev
	$(BIN)/python -m pytest -m soak tests/faults

# FREE="torch triton" leaves these two at the newest, where the oldest cannot be had.
test-minimum:
	$(MAKE) VENV=$(VENV)/minimum $(VENV)/minimum/constraints.txt
	PIP_CONSTRAINT=$(VENV)/minimum/constraints.txt $(MAKE) VENV=$(VENV)/minimum test

fuzz: $(VENV)/.fuzz
	nice $(BIN)/python tests/fuzz/fuzz.py --seconds $(SECONDS) $(TARGETS)

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/bandit --quiet --severity-level medium -r genomeconv kernels cli data

lock: | $(BIN)/python
	$(BIN)/python .ci/lock.py > .ci/requirements.lock.new
	mv .ci/requirements.lock.new .ci/requirements.lock

locked: | $(BIN)/python
	$(BIN)/python -m pip install --quiet --require-hashes -r .ci/requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $(VENV)/.dev $(VENV)/.demo

types: $(VENV)/.dev
	$(BIN)/mypy

bench: $(VENV)/.demo
	$(BIN)/python benchmarks/run.py $(BENCHFLAGS)

aot: $(VENV)/.dev
	env -u TRITON_INTERPRET $(BIN)/python -m genomeconv_kernels.aot \
	  --check benchmarks/results/aot.json $(AOTFLAGS)

# Nothing is installed: a machine lent with a GPU brings torch and triton of its own.
bench-gpu:
	$(PYTHON) benchmarks/gpu.py $(BENCHFLAGS)

clean:
	rm -rf $(VENV) demo build dist .pytest_cache .mypy_cache .ruff_cache \
	  .import_linter_cache .hypothesis

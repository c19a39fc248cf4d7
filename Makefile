# Two commands: `make run` (the whole pipeline) and `make test` (the checks of every change). Both set everything up first.

SOURCES ?=
DATA ?= ../shared/data
ROWS ?= 20000
SEED ?= 7
# local: versions below home; lakefs: in the lakeFS server that is started for it on 127.0.0.1.
LAKE ?= local
# One lake for each kind of run: the demo, a demo of another size, your feeds.
LAKE_HOME ?= .shelfmark$(if $(filter lakefs,$(LAKE)),/lakefs-demo)$(if $(strip $(SOURCES)),/feeds,$(if $(filter-out 20000 7,$(ROWS) $(SEED)),/demo-$(ROWS)-$(SEED)))
comma := ,
empty :=
space := $(empty) $(empty)
BIN := .venv/bin
READY := .venv/.ready
export SHELFMARK_REAL_DATA ?= $(abspath ../shared/data)

.PHONY: help setup run test quick nightly test-gpu lint docs screenshots lock wheel clean

help:
	@echo "make run                                    the whole pipeline on a generated demo catalogue"
	@echo "make run SOURCES=\"amazon_in lazada\" DATA=dir  the same on real feeds"
	@echo "make run LAKE=lakefs                        the same, its versions in a local lakeFS server"
	@echo "make test                                   the checks of every change: ruff, import-linter, pytest"
	@echo "make nightly                                all checks: the long proofs too, and all runs with their suites"
	@echo "make quick                                  the checks that are not marked slow"
	@echo "make test-gpu                               the checks that need a GPU, and training throughput on it"
	@echo "make screenshots                            the pictures of docs/stewards.md, by Chromium"
	@echo "make docs | lock | wheel | clean            docs/tables.md, requirements.lock, dist/*.whl, remove all that was made (the lake too)"

setup: $(READY)

$(READY): requirements.lock requirements-uv.lock setup.py pyproject.toml libs/shelfmark/session.py libs/shelfmark/cds.py tools/lakefs/go.sum tools/horovod/build.lock tools/horovod/horovod.lock scripts/horovod.sh
	@sh scripts/setup.sh
	@touch $@

run: setup
ifeq ($(LAKE),lakefs)
	@$(BIN)/shelfmark lake up --home $(LAKE_HOME)
endif
ifeq ($(strip $(SOURCES)),)
	@$(BIN)/shelfmark sample --rows $(ROWS) --seed $(SEED) --out $(LAKE_HOME)/demo
	@$(BIN)/shelfmark pipeline --env demo --home $(LAKE_HOME) --data $(LAKE_HOME)/demo --set lake=$(LAKE) \
		--set taxonomy=$(LAKE_HOME)/demo/taxonomy.csv --set taxonomy_maps=$(LAKE_HOME)/demo/taxonomy
else
	@$(BIN)/shelfmark pipeline --home $(LAKE_HOME) --data $(DATA) --set lake=$(LAKE) --sources $(subst $(space),$(comma),$(strip $(SOURCES)))
endif

test: setup lint
	@$(BIN)/python scripts/tests.py

# On a machine with a GPU: the tests that need one, which are skipped elsewhere, and throughput against a plain loop.
test-gpu: setup
	@$(BIN)/python -m pytest -m "gpu"
	@$(BIN)/python benchmarks/multimodal.py --device cuda --quick

quick: setup lint
	@$(BIN)/python -m pytest -m "not slow" -x

nightly: setup lint
	@$(BIN)/python scripts/tests.py -m ""

lint: setup
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports

docs: setup
	@$(BIN)/python -m shelfmark.docs docs/tables.md

screenshots: setup
	@$(BIN)/python scripts/screenshots.py

lock: setup
	@$(BIN)/uv pip compile -q --python-version 3.11 --extra dev --extra multimodal --generate-hashes --no-emit-index-url --no-header setup.py -o requirements.lock
	@for one in build horovod; do $(BIN)/uv pip compile -q $$(test $$one = build || echo --no-deps) --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header tools/horovod/$$one.in -o tools/horovod/$$one.lock; done
	@echo "uv==$$($(BIN)/uv --version | cut -d' ' -f2)" | $(BIN)/uv pip compile -q --generate-hashes --no-emit-index-url --no-header - -o requirements-uv.lock

wheel: setup
	@$(BIN)/python -m build --wheel --no-isolation

clean:
	@rm -rf .venv .shelfmark build dist .pytest_cache .ruff_cache .hypothesis

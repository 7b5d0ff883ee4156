# make demo    the whole chain on drawn faces, in a few minutes, with nothing to download
# make test    the tests; with FACEVER_DATA set, those on real data too
# make check   linters and types
# make docs    the manual, docs/_build/html/index.html
# make lock    pin the newest dependencies anew
#
# All of them set up .venv by themselves; nothing is installed twice.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

.PHONY: demo test check docs format lock clean

demo: $(READY)
	$(BIN)/python pipelines/demo.py

# A process a core, each with one thread.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(READY)
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet docs docs/_build/html

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(READY)
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade \
		--extra dev --no-header --no-emit-index-url pyproject.toml -o requirements.lock

clean:
	rm -rf .venv demo docs/_build

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "facever needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

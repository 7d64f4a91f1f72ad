# make run: the series, from images to figures. make test: the tests. Both make the environment .venv first.
PYTHON ?= python3
PY = .venv/bin/python

.PHONY: run test slow results address release

run: .venv/run
	$(PY) -m utils run

test: .venv/test
	$(PY) -m ruff check . && $(PY) -m ruff format --check . && .venv/bin/lint-imports && $(PY) -m pytest -q -m "not slow" -n logical --maxprocesses 4 --dist worksteal

slow: .venv/test
	$(PY) -m pytest -q -m slow

results: .venv/run
	$(PY) -m study results

# what Colab needs, for the top of somebody's My Drive; the largest network, which no notebook opens by itself, stays out
release:
	git archive --prefix=chest-xray-notebooks/ -o chest-xray-notebooks.zip HEAD utils study models notebooks examples \
	    data_manifest.csv requirements.txt README.md LICENSE CITATION.cff \
	    ':(exclude)models/*best_published*/model.keras'

address: .venv/run
	$(PY) -m utils address $(URL)

.venv/run: requirements.txt
	$(PYTHON) -m venv .venv && $(PY) -m pip install -q -r requirements.txt && touch $@

.venv/test: .venv/run tests/requirements.txt
	$(PY) -m pip install -q -r requirements.txt -r tests/requirements.txt && touch $@

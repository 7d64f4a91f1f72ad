# make run: the series from images to figures. make test: the tests. Both create .venv first.
PYTHON ?= python3
PY = .venv/bin/python

.PHONY: run test slow results address

run: .venv/done
	$(PY) -m utils run

test: .venv/done
	$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m pytest -q -m "not slow"

slow: .venv/done
	$(PY) -m pytest -q -m slow

results: .venv/done
	$(PY) -m study results

address: .venv/done
	$(PY) -m utils address $(URL)

.venv/done: requirements.txt
	$(PYTHON) -m venv .venv && $(PY) -m pip install -q -r requirements.txt && touch .venv/done

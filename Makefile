# Everything runs in .venv, made and filled when first needed. Another Python: make report PYTHON=python3.13
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable

.PHONY: report test lab lint samples notebooks benchmark clean

report: .venv/report  ## run all notebooks on data_samples/ and print where the report is
	$(BIN)/perfnb report --data data_samples --out reports/samples

test: .venv/test  ## every test, the notebooks included
	$(BIN)/python -m pytest -n 2 --dist loadscope tests notebooks --nbval --nbval-sanitize-with tests/nbval.cfg

lab: .venv/lab  ## JupyterLab on the notebooks
	$(BIN)/jupyter lab --notebook-dir=. notebooks

lint: .venv/test  ## style, without changing anything
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

samples: .venv/report  ## write data_samples/ again, byte for byte the same
	$(BIN)/python -m perfnb.simulate data_samples

notebooks: .venv/report  ## run the notebooks and write their outputs into them
	$(BIN)/python scripts/rewrite_notebooks.py

benchmark: .venv/report  ## speed against the named peers, as ratios
	$(BIN)/python benchmarks/report.py
	$(BIN)/python benchmarks/kpi.py
	$(BIN)/python benchmarks/alerts.py
	$(BIN)/python benchmarks/before_after.py
	$(BIN)/python benchmarks/attribution.py
	$(BIN)/python benchmarks/attribution_truth.py
	$(BIN)/python benchmarks/attribution_coverage.py

clean:  ## remove the environment and the reports
	rm -rf .venv reports

.venv/report: pyproject.toml constraints.txt | .venv/python
	@echo "Installing perfnb into .venv (once; a minute or two) …"
	$(INSTALL) .
	@touch $@

.venv/test: pyproject.toml constraints.txt | .venv/python
	@echo "Installing perfnb and what its tests need into .venv (once; some minutes) …"
	$(INSTALL) ".[lab,spark,chdb,test]"
	@touch $@ .venv/report .venv/lab

.venv/lab: pyproject.toml constraints.txt | .venv/python
	@echo "Installing perfnb and JupyterLab into .venv (once; a minute or two) …"
	$(INSTALL) ".[lab]"
	@touch $@ .venv/report

.venv/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "perfnb needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Say which: make $(MAKECMDGOALS) PYTHON=python3.13"; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

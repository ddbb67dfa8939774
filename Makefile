# Two commands set everything up on a machine that has only Python 3.11 or 3.12:
#   make pretrain   builds the embedded data set, pretrains on it, prints a benchmark table, draws pictures
#   make test       runs the tests
PYTHON ?= python3
VENV   ?= .venv
RUN    := $(VENV)/bin/python
OUT    ?= runs/first

.PHONY: pretrain test test-slow test-faults lint clean
.DELETE_ON_ERROR:

pretrain: $(VENV)/.runtime
	$(RUN) -m data_prep.build walkers --out built
	$(RUN) -m data_prep.build crowd --out built
	$(RUN) run_pretrain.py --config=configs/pretrain.py:tiny --workdir=$(OUT)
	$(RUN) run_eval.py --config=configs/zero_shot.py --config.checkpoint=$(OUT) --out=$(OUT)/results
	for real in kth usf17; do test ! -d built/$$real || \
	  $(RUN) run_eval.py --config=configs/zero_shot.py:$$real --config.checkpoint=$(OUT) --out=$(OUT)/results || exit 1; done
	$(RUN) run_eval.py --config=configs/linear_probe.py --config.checkpoint=$(OUT) --out=$(OUT)/results
	$(RUN) run_eval.py --report=$(OUT)/results --out=$(OUT)/report.html

test: $(VENV)/.dev
	$(RUN) -m ruff check .
	$(RUN) -m pytest -n auto -m "not slow"

test-slow: $(VENV)/.dev
	$(RUN) -m pytest -m slow --ignore=tests/faults

test-faults: $(VENV)/.dev
	$(RUN) -m pytest tests/faults

lint: $(VENV)/.dev
	$(RUN) -m ruff check .

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12) and "Python 3.11 or 3.12 is needed, this is " + sys.version.split()[0] + "; name one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements.txt | $(VENV)/bin/python
	$(RUN) -m pip install --disable-pip-version-check -q -r requirements.txt
	touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.runtime
	$(RUN) -m pip install --disable-pip-version-check -q -r requirements-dev.txt
	touch $@

clean:
	rm -rf $(VENV) built runs results

# Two commands set everything up on a machine that has only Python 3.11 or 3.12:
#   make pretrain   builds the embedded data set, pretrains on it, prints a benchmark table, draws pictures
#   make test       runs the tests
PYTHON ?= python3
VENV   ?= .venv
RUN    := $(VENV)/bin/python
OUT    ?= runs/first
SIZE   ?= tiny
CROWD  ?= crowd_pairs
CARRIED := --dtype bfloat16 --without-heads --licence Apache-2.0
SECONDS ?= 60
# glibc asks for large pages: a step on processors is a seventh to a fifth faster.
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1

.PHONY: pretrain pretrain-long walkers-tiny test test-slow test-faults fuzz lint lock clean
.DELETE_ON_ERROR:

pretrain: $(VENV)/.runtime
	$(RUN) -m data_prep.build walkers --out built
	$(RUN) -m data_prep.build $(CROWD) --out built
	$(RUN) run_pretrain.py --config=configs/pretrain.py:$(SIZE) --workdir=$(OUT)
	$(RUN) run_eval.py --config=configs/zero_shot.py --config.checkpoint=$(OUT) --out=$(OUT)/results
	for real in kth usf17; do test ! -d built/$$real || \
	  $(RUN) run_eval.py --config=configs/zero_shot.py:$$real --config.checkpoint=$(OUT) --out=$(OUT)/results || exit 1; done
	$(RUN) run_eval.py --config=configs/linear_probe.py --config.checkpoint=$(OUT) --out=$(OUT)/results
	$(RUN) run_eval.py --report=$(OUT)/results --out=$(OUT)/report.html

# The same on walkers and a crowd, in larger batches, 14 times as many clips, of eight frames: some two hours on two
# cores.
pretrain-long: SIZE = tiny_long
pretrain-long: CROWD = crowd4800
pretrain-long: OUT = runs/long
pretrain-long: pretrain

# The weights that the package carries, `make walkers-tiny OUT=runs/long` after `make pretrain-long`: bfloat16, without
# heads, and a card with the figures of exactly these weights.
walkers-tiny: $(VENV)/.runtime
	$(RUN) -m fgait_jax.interop.publish $(OUT) --out $(OUT)/carried $(CARRIED)
	for data in walkers kth usf17; do test ! -d built/$$data || $(RUN) run_eval.py --config=configs/zero_shot.py:$$data \
	  --config.checkpoint=$(OUT)/carried --config.pictures=0 --out=$(OUT)/carried/results || exit 1; done
	rm -rf fgait_jax/weights/walkers-tiny
	$(RUN) -m fgait_jax.interop.publish $(OUT)/carried --out fgait_jax/weights/walkers-tiny $(CARRIED)

test: $(VENV)/.dev
	$(RUN) -m ruff check .
	$(RUN) -m pytest -n auto -m "not slow"

test-slow: $(VENV)/.dev
	$(RUN) -m pytest -m slow --ignore=tests/faults

test-faults: $(VENV)/.dev
	$(RUN) -m pytest tests/faults

# Every reader of a stranger's file for SECONDS each; by chance instead of coverage where atheris does not install.
fuzz: $(VENV)/.dev
	-$(RUN) -m pip install --disable-pip-version-check -q -r requirements-fuzz.txt
	$(RUN) tests/fuzz/fuzz.py --seconds $(SECONDS)

lint: $(VENV)/.dev
	$(RUN) -m ruff check .

# After a change of requirements.txt: all pins with their hashes, and the table of licences.
lock: $(VENV)/.dev
	$(RUN) -m uv pip compile requirements.txt --universal --python-version 3.11 --generate-hashes -q -o requirements.lock \
	  --custom-compile-command "make lock"
	$(RUN) docs/licences.py

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

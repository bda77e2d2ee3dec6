# Every target sets up what it needs in .venv and reuses what is there.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.lift_mm-installed

.PHONY: demo test lint format clean
.DEFAULT_GOAL := test

demo: $(STAMP)
	$(BIN)/python tools/demo.py

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

lint: $(BIN)/ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(BIN)/ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache
	find . -path ./.venv -prune -o -name __pycache__ -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	    { echo 'Python >= 3.10 is needed: make PYTHON=python3.12 ...'; exit 1; }
	@echo 'Creating .venv ...'
	@$(PYTHON) -m venv .venv

$(BIN)/ruff: | $(BIN)/python
	@echo 'Installing ruff into .venv ...'
	@$(BIN)/python -m pip install -q 'ruff>=0.17,<0.18'

# torch and torchvision go first and together, so that they match each other;
# a torch that is there stays, and so does a full mmcv, which mmcv-lite would
# overwrite.
$(STAMP): setup.cfg pyproject.toml | $(BIN)/python
	@echo 'Installing torch into .venv (some GB with its GPU libraries) ...'
	@have=$$($(BIN)/python -c \
	    'import torch; print("==" + torch.__version__)' 2>/dev/null); \
	    $(BIN)/python -m pip install -q "torch$$have" torchvision
	@echo 'Installing lift_mm and what it needs into .venv ...'
	@if $(BIN)/python -m pip show -q mmcv 2>/dev/null; then \
	    $(BIN)/python -c "import configparser as c; p = c.ConfigParser(); \
	    p.read('setup.cfg'); e = p['options.extras_require']; \
	    print(p['options']['install_requires'], e['demo'], e['test'], \
	    sep='\n')" | grep -v mmcv-lite > .venv/requirements.txt && \
	    $(BIN)/python -m pip install -q -r .venv/requirements.txt && \
	    $(BIN)/python -m pip install -q --no-deps -e .; \
	else $(BIN)/python -m pip install -q -e '.[demo,test]'; fi
	@touch $(STAMP)

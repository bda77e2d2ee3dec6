# Every target sets up what it needs in .venv and reuses what is there.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.lift_mm-installed
EXTRAS := .venv/.lift_mm-extras
WEB := .venv-web/.lift_mm-installed

.PHONY: demo test test-web docs test-matrix soak lint format clean
.DEFAULT_GOAL := test

demo: $(STAMP)
	$(BIN)/python tools/demo.py

test: $(EXTRAS)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

# The page of tools/demo_web.py. gradio wants an older Pillow, whose pixels are
# not those of the other tests: it goes into an environment beside .venv.
test-web: $(WEB)
	OMP_NUM_THREADS=1 .venv-web/bin/python -m pytest tests/test_tools/test_demo_web.py

# Builds into docs/_build/html; a warning is an error.
docs: $(EXTRAS)
	$(BIN)/python -m sphinx -b html -c docs -W --keep-going -q . docs/_build/html
	@echo 'The site: docs/_build/html/index.html'

# Newest and oldest packages on every Python, in .venv-matrix (30 GB).
test-matrix:
	$(PYTHON) .ci/matrix.py $(ENVS)

# 2,000 training steps: exits with 1 if memory, files or tensors grow.
soak: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python tests/soak.py

lint: $(BIN)/ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(BIN)/ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf build dist docs/_build *.egg-info .pytest_cache .ruff_cache
	find . -path './.venv*' -prune -o -name __pycache__ -exec rm -rf {} +

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

$(EXTRAS): $(STAMP)
	@echo 'Installing what tests and documentation need into .venv ...'
	@$(BIN)/python -c "import configparser as c; p = c.ConfigParser(); \
	    p.read('setup.cfg'); e = p['options.extras_require']; \
	    print(*(e[k] for k in ('docs', 'report', 'export', 'browser', \
    'tensorboard')), sep='\n')" \
	    > .venv/extras.txt && $(BIN)/python -m pip install -q -r .venv/extras.txt
	@touch $(EXTRAS)

# It sees the packages of .venv behind its own.
$(WEB): $(EXTRAS)
	@echo 'Installing gradio into .venv-web ...'
	@$(BIN)/python -m venv .venv-web
	@$(BIN)/python -c "import sysconfig as s; print('import site;', \
	    'site.addsitedir(%r)' % s.get_path('purelib'))" \
	    > .venv-web/lib/python$$($(BIN)/python -c "import sys; \
	    print('%d.%d' % sys.version_info[:2])")/site-packages/lift_mm.pth
	@.venv-web/bin/python -m pip install -q 'gradio>=6'
	@touch $(WEB)

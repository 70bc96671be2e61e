# install fmt check test bench demo: each makes .venv first where it is missing, and does nothing twice.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: install fmt check test bench demo clean

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[export,b4,oracle,video,genicam,metrics,line,trust,preview,scale,dev]'
	touch $@

install: $(INSTALLED)

fmt: $(INSTALLED)
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format .

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Two processes: many tests wait for cameras, deadlines and disks. One thread each, so that they leave each other a core.
test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

demo: $(INSTALLED)
	$(BIN)/diffad-edge demo --out demo-out

demo-out/model.diffad:
	$(MAKE) demo

# Speed does not depend on how long a model was trained: two minutes are enough for one to time at 256 px.
bench-out/model.diffad: | $(INSTALLED) demo-out/model.diffad
	rm -rf bench-out
	mkdir -p bench-out
	$(BIN)/diffad-edge train --data demo-out/line --out bench-out/run --size 256 --max-minutes 1
	$(BIN)/diffad-edge export bench-out/run --data demo-out/line --out bench-out/model.diffad --max-minutes 1 --max-aupro-drop 1

bench: bench-out/model.diffad
	$(BIN)/diffad-edge bench bench-out/model.diffad --teacher bench-out/run --frame-size input
	$(BIN)/diffad-edge bench bench-out/model.diffad --frame-size 1920x1080

clean:
	rm -rf $(VENV) demo-out bench-out .mypy_cache .ruff_cache .pytest_cache .hypothesis

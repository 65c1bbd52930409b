# Everything runs in .venv, which is made on demand. `make demo` and `make test` are all you need.
PYTHON ?= python3
PIP := .venv/bin/pip --disable-pip-version-check
WEIGHTS ?=
WORKERS ?= 2
OUT ?= vox2face-demo

.PHONY: demo test lint types bench docs wheel clean

demo: .venv/demo.stamp
	.venv/bin/vox2face demo --out $(OUT) $(if $(WEIGHTS),--weights $(WEIGHTS))

# Two processes with a thread each take little more than half the time of one with two.
test: .venv/dev.stamp
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

lint: .venv/dev.stamp
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

# mypy reads an installed copy, because the folders zoo/, train/ and converters/ are installed
# below vox2face.
types: .venv/dev.stamp
	rm -rf build/typed build/lib  # of modules that are gone
	$(PIP) install --quiet --no-deps --target build/typed .
	.venv/bin/python -m mypy -p vox2face

bench: .venv/dev.stamp
	.venv/bin/python benchmarks/convert.py
	.venv/bin/python benchmarks/senet50.py
	.venv/bin/python benchmarks/startup.py
	.venv/bin/python benchmarks/audio.py
	.venv/bin/python benchmarks/inference.py

docs: .venv/dev.stamp
	.venv/bin/vox2face zoo list --markdown > docs/zoo.md

wheel: .venv/dev.stamp
	.venv/bin/python -m build

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/demo.stamp: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) install -c constraints.txt -e '.[onnx]'
	touch $@

.venv/dev.stamp: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) install -c constraints.txt -e '.[dev]'
	$(PIP) install --no-deps Resemblyzer==0.1.4  # its dependencies need a compiler; unused here
	touch $@ .venv/demo.stamp

clean:
	rm -rf .venv build dist vox2face-demo *.egg-info

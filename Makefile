# Everything runs in .venv, which is made on demand. `make demo` and `make test` are all you need.
PYTHON ?= python3
PIP := .venv/bin/pip --disable-pip-version-check
WEIGHTS ?=
WORKERS ?= 2
OUT ?= vox2face-demo

.PHONY: demo test test-quick test-slow test-oldest lint types bench docs demo-models demo-models-trained wheel clean

demo: .venv/demo.stamp
	.venv/bin/vox2face demo --out $(OUT) $(if $(WEIGHTS),--weights $(WEIGHTS))

# Two processes with a thread each take little more than half the time of one with two.
test: .venv/dev.stamp
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder \
		--durations 25 --durations-min 5

# What takes less than a second; what `make test` has no time for.
test-quick: SELECTED := not long and not fullsize and not slow and not network and not gpu
test-slow: SELECTED := slow and not network and not gpu
test-quick test-slow: .venv/dev.stamp
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder \
		-m "$(SELECTED)"

# A cut through everything, without what needs the owners' own code or takes long.
CUT := $(addprefix tests/,$(addsuffix .py,core/test_atomic media/test_audio zoo/test_presets \
	store/test_fetch readers/test_read readers/test_formats converters/test_convert converters/test_onnx \
	train/corpus/test_corpus_index train/corpus/test_manifest train/figures/test_curves \
	train/trainer/test_history train/trainer/test_train_loop)) \
	tests/store/test_hub.py::test_a_bundle_goes_up_in_one_commit_and_comes_back_the_same
NOT_CUT := keras_wrote or letterbox or load_img or killed

# With the lowest versions that pyproject.toml allows, but PyTorch's, which constraints.txt holds.
test-oldest: .venv-oldest/stamp
	OMP_NUM_THREADS=1 .venv-oldest/bin/python -m pytest -n $(WORKERS) -k 'not ($(NOT_CUT))' $(CUT)

lint: .venv/dev.stamp
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

# mypy and import-linter read an installed copy, because the folders zoo/, train/ and converters/ are
# installed below vox2face.
types: .venv/dev.stamp
	rm -rf build/typed build/lib  # of modules that are gone
	$(PIP) install --quiet --no-deps --target build/typed .
	.venv/bin/python -m mypy -p vox2face
	cd build/typed && ../../.venv/bin/lint-imports --no-cache --no-logo ../../pyproject.toml

bench: .venv/dev.stamp
	.venv/bin/python benchmarks/convert.py
	.venv/bin/python benchmarks/startup.py
	.venv/bin/python benchmarks/audio.py
	.venv/bin/python benchmarks/inference.py

docs: .venv/dev.stamp
	.venv/bin/vox2face zoo list --markdown > docs/zoo.md
	.venv/bin/python scripts/draw_rooms.py

# Trains the two demo models anew and makes the gallery; hours. Started again it goes on where it was.
# BANK is a folder of `vox2face data bank --voices 80 --sentences 8`, or "full", or "seed".
# `make demo-models-trained MODELS=slice IDENTITIES=40 LENGTH="--steps 20"` tries a slice of it.
BANK ?= seed
MODELS ?= build/demo-models
IDENTITIES ?= 2000
LENGTH ?=
demo-models: demo-models-trained
	.venv/bin/python scripts/ship_demo.py $(MODELS)/voice/bundle $(MODELS)/decoder/bundle
	.venv/bin/python scripts/make_gallery.py $(MODELS)/people $(MODELS)/prepared \
		vox2face/assets/gallery --people 60

demo-models-trained: .venv/dev.stamp
	.venv/bin/vox2face data synth --out $(MODELS)/people --identities $(IDENTITIES) --seed 2026 \
		--pictures 3 --clips 4 --bank $(BANK)
	.venv/bin/vox2face data index $(MODELS)/people --force
	.venv/bin/vox2face data prepare $(MODELS)/people --out $(MODELS)/prepared --crop \
		--stages landmarks,embeddings,audio --encode mp3,8k
	.venv/bin/vox2face train decoder $(MODELS)/people --prepared $(MODELS)/prepared $(LENGTH) \
		--recipe decoder-normalized --out $(MODELS)/decoder $(if $(wildcard $(MODELS)/decoder),--resume)
	.venv/bin/vox2face train voice $(MODELS)/people --prepared $(MODELS)/prepared $(LENGTH) \
		--recipe demo-voice --out $(MODELS)/voice $(if $(wildcard $(MODELS)/voice),--resume)

wheel: .venv/dev.stamp
	.venv/bin/python -m build

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/demo.stamp: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) install -c constraints.txt -e '.[onnx,voice]'
	touch $@

.venv/dev.stamp: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) install -c constraints.txt -e '.[dev]'
	$(PIP) install --no-deps Resemblyzer==0.1.4  # its dependencies need a compiler; unused here
	touch $@ .venv/demo.stamp

.venv-oldest/stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear .venv-oldest
	grep -oE '"[A-Za-z0-9_-]+(\[[a-z]+\])?>=[0-9a-z.]+"' pyproject.toml \
		| sed -E 's/"|\[.*\]//g; s/>=/==/; /^torch==/d' > .venv-oldest/lowest.txt
	.venv-oldest/bin/pip --disable-pip-version-check install -c constraints.txt \
		-c .venv-oldest/lowest.txt -e '.[onnx,hub,synth,train]' pytest pytest-xdist hypothesis soundfile
	touch $@

clean:
	rm -rf .venv .venv-oldest build dist vox2face-demo *.egg-info

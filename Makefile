# Every target sets itself up: `make demo` and `make test` work in a fresh clone.
SHELL := /bin/bash
PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEERS := .venv-peers
PEERS_STAMP := $(PEERS)/.installed
MMCV1 := .venv-mmcv1
MMCV1_STAMP := $(MMCV1)/.installed
RAY := .venv-ray
RAY_STAMP := $(RAY)/.installed
TRACKERS := .venv-trackers
TRACKERS_STAMP := $(TRACKERS)/.installed
DEEPSPEED := .venv-deepspeed
DEEPSPEED_STAMP := $(DEEPSPEED)/.installed
SITE_STAMP := $(VENV)/.installed-site
COLOSSALAI := .venv-colossalai
COLOSSALAI_STAMP := $(COLOSSALAI)/.installed
CLIENTS := .venv-clients
CLIENTS_STAMP := $(CLIENTS)/.installed

# Where an environment forbids bytecode files, each of the hundreds of processes that the tests start would compile the
# package for half a second, and pytest all of the tests.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: venv demo test conformance lint format bench peers peers-mmcv1 faults trackers deepspeed colossalai ray elastic site clients clean

venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,demo]'
	$(BIN)/python -m compileall -q src  # as pip does where it installs a copy
	touch $@

# One thread: the batches are too small for a second one to pay, and a busy machine then does no harm.
demo: venv
	OMP_NUM_THREADS=1 $(BIN)/trainwright train configs/digits/cnn.py --work-dir work_dirs/digits

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/check_sizes.py
	$(BIN)/python tools/check_source.py

# Without the tests for `make trackers`, which train in many processes; TensorBoard's files are read back here too. The
# long runs are `make conformance`, those that need a package of their own have a target of their own.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) -m "not tracker and not conformance and not deepspeed and not colossalai and not ray and not mmcv1 and not client"

# The whole conformance suite, and what else is long. $(CONFORMANCE) narrows it: a path, or -k.
conformance: venv
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) -m "conformance and not deepspeed and not ray and not mmcv1 and not client" $(CONFORMANCE)

$(PEERS_STAMP): pyproject.toml constraints.txt
	test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]' 'mmengine==0.10.7' 'setuptools<81'
	touch $@

# The tests that compare with MMEngine, in an environment that has both.
peers: $(PEERS_STAMP)
	OMP_NUM_THREADS=1 $(PEERS)/bin/python -m pytest -m peer

# MMCV is built from its source, without the operators that need a compiler; its setup.py needs the older setuptools.
$(MMCV1_STAMP): pyproject.toml constraints.txt
	test -x $(MMCV1)/bin/python || $(PYTHON) -m venv $(MMCV1)
	$(MMCV1)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch 'setuptools<81' wheel
	MMCV_WITH_OPS=0 $(MMCV1)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation 'mmcv==1.7.2'
	$(MMCV1)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]' 'setuptools<81'
	touch $@

# The tests that compare with MMCV 1.7.2, in an environment that has both.
peers-mmcv1: $(MMCV1_STAMP)
	OMP_NUM_THREADS=1 $(MMCV1)/bin/python -m pytest -m mmcv1 tests/compat tests/doors

$(RAY_STAMP): pyproject.toml constraints.txt
	test -x $(RAY)/bin/python || $(PYTHON) -m venv $(RAY)
	$(RAY)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,ray]'
	touch $@

# The tests that train in ranks that Ray starts, on this machine alone, in an environment that has Ray.
ray: $(RAY_STAMP)
	OMP_NUM_THREADS=1 $(RAY)/bin/python -m pytest -m ray tests/runner

# Launched trainings one of whose ranks is killed, on one host and (as root) on two: a table in Markdown.
elastic: venv
	$(BIN)/python tests/elastic/long_run.py

$(TRACKERS_STAMP): pyproject.toml constraints.txt
	test -x $(TRACKERS)/bin/python || $(PYTHON) -m venv $(TRACKERS)
	$(TRACKERS)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,trackers]'
	touch $@

# The tests that run the trackers' own packages, in an environment that has them. Nothing of it needs a network.
trackers: $(TRACKERS_STAMP)
	OMP_NUM_THREADS=1 $(TRACKERS)/bin/python -m pytest -m tracker -n $(WORKERS) tests/visualization

$(DEEPSPEED_STAMP): pyproject.toml constraints.txt
	test -x $(DEEPSPEED)/bin/python || $(PYTHON) -m venv $(DEEPSPEED)
	$(DEEPSPEED)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]' einops hjson msgpack ninja py-cpuinfo setuptools wheel
	DS_BUILD_OPS=0 DS_ACCELERATOR=cpu $(DEEPSPEED)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[deepspeed]'
	touch $@

# The tests that train in DeepSpeed's engine, on the CPU with gloo, in an environment that has it. It compiles nothing.
deepspeed: $(DEEPSPEED_STAMP)
	OMP_NUM_THREADS=1 $(DEEPSPEED)/bin/python -m pytest -m deepspeed -n $(WORKERS) tests/strategies tests/checkpoint tests/testing

# The package asks for an older torch, and is installed without what it asks for; the rest is what its Booster imports.
$(COLOSSALAI_STAMP): pyproject.toml constraints.txt
	test -x $(COLOSSALAI)/bin/python || $(PYTHON) -m venv $(COLOSSALAI)
	$(COLOSSALAI)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]' setuptools wheel packaging ninja
	$(COLOSSALAI)/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps 'colossalai==0.5.0'
	$(COLOSSALAI)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt peft contexttimer rpyc psutil einops click fabric galore_torch diffusers 'transformers==4.51.3' pydantic protobuf
	touch $@

# The tests that train by ColossalAI's booster, on the CPU with gloo.
colossalai: $(COLOSSALAI_STAMP)
	OMP_NUM_THREADS=1 $(COLOSSALAI)/bin/python -m pytest -m colossalai tests/strategies

# Projects that are written for MMEngine, with MMEngine itself beside them. Those whose own demands cannot be met on this
# stack are installed without what they ask for: of them only the configs are read. set_up.py puts in what is missing.
$(CLIENTS_STAMP): pyproject.toml constraints.txt tests/clients/set_up.py tests/clients/mmcv_ext.py
	test -x $(CLIENTS)/bin/python || $(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]' 'mmengine==0.10.7' 'setuptools<81' 'mmcv-lite==2.1.0' 'mmpretrain==1.2.0' 'mmsegmentation==1.2.2' 'mmdet==3.3.0' einops importlib-metadata mat4py modelindex ftfy regex
	$(CLIENTS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps 'torchvision==0.28.0' 'mmpose==1.3.2' 'mmocr==1.0.1' 'mmaction2==1.2.0' 'mmagic==1.2.0'
	$(CLIENTS)/bin/python tests/clients/set_up.py
	touch $@

# Unmodified clients of MMEngine on Trainwright, through the face, each compared with the same on MMEngine itself.
clients: $(CLIENTS_STAMP)
	OMP_NUM_THREADS=1 $(CLIENTS)/bin/python -m pytest -m client -n $(WORKERS) tests/clients

$(SITE_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

# The site of the documentation, in site/: nothing may be missing, and nothing may be fetched from elsewhere.
site: $(SITE_STAMP)
	NO_MKDOCS_2_WARNING=1 OMP_NUM_THREADS=1 $(BIN)/mkdocs build --strict --quiet
	$(BIN)/python tools/check_site.py site

format: venv
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The fault suite at full length (half an hour): a table in Markdown, as docs/reliability.md has it.
faults: venv
	OMP_NUM_THREADS=1 $(BIN)/python tests/faults/long_run.py

bench: venv
	$(BIN)/python benchmarks/import_time.py
	$(BIN)/python benchmarks/host_reads.py
	$(BIN)/python benchmarks/config.py
	$(BIN)/python benchmarks/dataset_memory.py
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/hook_cost.py
	$(BIN)/python benchmarks/resume.py
	$(BIN)/python benchmarks/distributed.py

clean:
	rm -rf build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis work_dirs

# SPDX-License-Identifier: Apache-2.0
# The entry points. Each works from a fresh clone with python3, a C compiler and make;
# stamp files in .venv make the second call quick.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

C_FILES := $(wildcard examples/*.c src_c/*.[ch] src_c/kernels/*.h src_c/emulate/*.h)
CYTHON_FILES := $(wildcard fastcnn/*/*.pyx fastcnn/*/*.pxd)
BUILD_NEEDS = $(shell sed -n 's/^requires = \[\(.*\)\]$$/\1/p' pyproject.toml | tr , ' ')

.DELETE_ON_ERROR:
.PHONY: help build demo docs test check spills parity bench peers asan emulate clean

help:  ## show this list (the default)
	@sed -n 's/^\([a-z]*\):.*## */\1 /p' Makefile | awk '{ n = $$1; $$1 = ""; printf "  make %-7s%s\n", n, $$0 }'

build: $(VENV)/.built  ## compile into the source tree and install it, editable, in .venv

demo: $(VENV)/.extra-demo  ## train LeNet-5 on real digits and write its pictures to demo/
	$(BIN)/fastcnn demo

docs: $(VENV)/.extra-demo  ## run the code in docs/lecture, write what it prints; ARGS=--check compares
	$(BIN)/python docs/run_pages.py docs/lecture $(ARGS)

test: $(VENV)/.extra-test  ## run the tests; ARGS="-k conv -x" goes to pytest
	$(BIN)/python -m pytest $(ARGS)

# A process for each core, one thread in each; the longest test begins.
# PyTorch's CPU build is enough: PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu finds it.
parity: $(VENV)/.extra-parity $(VENV)/.torch-models  ## networks beside PyTorch's and Keras'; ARGS="-k ResNet18"
	OMP_NUM_THREADS=1 FASTCNN_NUM_THREADS=1 $(BIN)/python -m pytest -n auto tests/parity/test_training.py \
		tests/parity $(ARGS)

check: $(VENV)/.extra-dev  ## lint, types, C and Cython style, direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror $(C_FILES)
	PATH="$(BIN):$$PATH" cython-lint $(CYTHON_FILES)
	$(BIN)/lint-imports --no-cache

# QUICK=1 runs each benchmark once on this commit; otherwise this commit is compared with main.
# ARGS goes to asv: ARGS="-b Conv2D" runs the benchmarks whose names match.
# asv builds the commits in environments of its own, from wheels kept in .whl: no network then.
bench: $(VENV)/.extra-bench .whl/.fetched  ## asv: compare with main, publish; QUICK=1 runs once
	cd benchmarks && export PATH="$(CURDIR)/$(BIN):$$PATH" && asv machine --yes >/dev/null && \
	    export PIP_NO_INDEX=1 PIP_FIND_LINKS="$(CURDIR)/.whl" && status=0 && \
	    { asv $(if $(QUICK),run --quick,continuous) --show-stderr $(ARGS) \
	      $(if $(QUICK),'HEAD^!',main HEAD) || status=$$?; } && asv publish && exit $$status
	@echo "see it with: cd benchmarks && ../$(BIN)/asv preview"

# All networks take some 40 minutes on two quiet cores, 8 GB of memory and 4 GB for temporary files
# (ARGS="--work DIR" says where, and keeps them). ARGS="--networks ResNet18 --batches 1" runs some of them,
# ARGS="--memory --cold" measures other things, ARGS=--help lists all. torch.compile needs g++.
peers: $(VENV)/.extra-peers $(VENV)/.torch-models  ## fastcnn beside other engines; ARGS="--json FILE --chart FILE"
	PYTHONPATH=benchmarks $(BIN)/python -m peers $(ARGS)

# Compiled apart, since an installation leaves no objects behind: some minutes, once.
# OBJECTS=DIR takes those of a build that kept them there, and compiles what is not up to date.
OBJECTS := build/spills
spills:  $(VENV)/.build-needs  ## check the assembly of the kernels: register tiles stay in registers
	$(BIN)/python setup.py -q build_clib --build-temp $(OBJECTS) --build-clib $(OBJECTS)
	$(BIN)/python .ci/spills.py $(filter-out %_scalar.o,$(wildcard $(OBJECTS)/src_c/isa_*.o))

# A second build beside the first: never the one that `make test` or a user runs.
ASAN_LIB := build/asan/lib
asan: $(VENV)/.extra-test  ## kernels and plans in files under address and undefined-behaviour sanitizers
	FASTCNN_BUILD_DEBUG=1 FASTCNN_BUILD_SANITIZE=address,undefined $(BIN)/python setup.py -q build \
	    --build-base build/asan --build-temp build/asan/temp --build-lib $(ASAN_LIB)
	LD_PRELOAD="$$($(CC) -print-file-name=libasan.so) $$($(CC) -print-file-name=libubsan.so)" \
	    ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
	    PYTHONMALLOC=malloc PYTHONPATH=$(ASAN_LIB) $(BIN)/pytest tests/test_kernels.py tests/test_deploy.py $(ARGS)

# Debian and Ubuntu: apt install libsimde-dev. The first pass compiles for some minutes.
EMULATE_LIB := build/emulate/lib
emulate: $(VENV)/.extra-test  ## kernel tests of AVX-512 on a machine without it; ARGS="-k conv"
	FASTCNN_BUILD_ISA=avx2,avx512 FASTCNN_BUILD_EMULATE=avx512 $(BIN)/python setup.py -q build \
	    --build-base build/emulate --build-temp build/emulate/temp --build-lib $(EMULATE_LIB)
	FASTCNN_ISA=avx512 PYTHONPATH=$(EMULATE_LIB) $(BIN)/pytest tests/test_kernels.py $(ARGS)

clean:  ## remove what was built (.venv stays, its stamps go)
	rm -rf build dist demo .whl *.egg-info benchmarks/.asv $(VENV)/.built
	rm -f fastcnn/*/*.so fastcnn/backends/*.c fastcnn/backends/*.html
	find . -path ./$(VENV) -prune -o -name __pycache__ -exec rm -rf {} +

$(VENV)/.made:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade pip
	touch $@

$(VENV)/.build-needs: $(VENV)/.made pyproject.toml
	$(PIP) install $(BUILD_NEEDS)
	touch $@

$(VENV)/.built: $(VENV)/.build-needs setup.py $(C_FILES) src_c/kernels.def $(CYTHON_FILES)
	$(PIP) install --no-build-isolation -e .
	touch $@

# The installed metadata knows the extras, so this compiles nothing.
$(VENV)/.extra-%: pyproject.toml | $(VENV)/.built
	$(PIP) install "fastcnn[$*]"
	touch $@

# Without what they ask for: their wheels want PyTorch's CUDA build, and do without it.
$(VENV)/.torch-models: pyproject.toml | $(VENV)/.built
	$(PIP) install --no-deps torchvision==0.28.0 timm==1.0.31 captum==0.9.0
	touch $@

.whl/.fetched: $(VENV)/.made pyproject.toml
	$(PIP) download --dest .whl $(BUILD_NEEDS) safetensors \
	    asv_runner build pip pympler wheel  # what asv puts in every environment
	touch $@

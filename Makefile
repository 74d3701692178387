# One verb for each need; the recipes live in tools/ and in CMakePresets.json.
# `make demo` and `make test` need nothing but a Debian 12 machine: they install what is missing.
.DEFAULT_GOAL := build
SHELL := /bin/bash
JOBS ?= $(shell nproc)
TARGET ?= gguf
SECONDS_MAX ?= 60

export CMAKE_BUILD_PARALLEL_LEVEL := $(JOBS)

.PHONY: help setup build release demo run test check tidy format-check fix lint golden bench \
        bench-live bench-peer bench-replay crash sim sim-full fuzz results clean cuda-toolkit cuda-gate \
        gpu-check gpu-bench gpu-results

help:            ## show the verbs
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:           ## install what the build needs (Debian packages, Rust where there is none)
	@tools/setup.sh

build: setup     ## build with ASan and UBSan
	@tools/build.sh dev

release: setup   ## build optimised
	@tools/build.sh release

demo: setup      ## a real model answers over gRPC
	@tools/build.sh release inferd inferctl
	@tools/demo.sh

run: setup       ## serve the demo model on loopback until interrupted
	@tools/build.sh release inferd inferctl
	@tools/demo.sh --serve

test: setup      ## build and run every test
	@tools/test.sh

check: build     ## fast tests, source rules, format
	@tools/tidy.py
	@tools/format.sh --check
	@ctest --test-dir build/dev -L unit --output-on-failure -j $(JOBS)

tidy:            ## source rules: layers, banned words, READMEs, sizes
	@tools/tidy.py

format-check:    ## is everything formatted?
	@tools/format.sh --check

fix:             ## format everything
	@tools/format.sh

lint: setup      ## clang -Wthread-safety and clang-tidy over all sources (minutes)
	@tools/lint.sh

golden: release  ## compare with the committed goldens of independent implementations
	@tools/golden.sh

bench: release   ## measure what the figures table asks for
	@tools/bench.sh

bench-live: release  ## fairness and the simulator's error on the real engine (6 minutes)
	@tools/results.py run bench-live -- build/release/bench/inferd_live_bench \
	  --model "$$(tools/get_model.py smollm2)"

bench-peer: release  ## measure against llama.cpp on the same file
	@tools/bench_peer.sh

bench-replay: release  ## measure models' digests and loads, and answers computed again
	@tools/bench_replay.sh

sim: setup       ## 2,000 random workloads in the simulator; make sim SEED=7 replays one
	@tools/sim.sh $(SEED)

sim-full: setup  ## the simulator's experiments and its mutation gate (minutes)
	@tools/sim.sh --full

crash: release   ## kill -9 the audit log and a quota ledger at many points under load (minutes)
	@tools/results.py run crash -- build/release/tests/crash/inferd_log_kill build/log_kill 2000
	@tools/results.py run crash -- build/release/tests/crash/inferd_quota_kill build/quota_kill 500

cuda-toolkit:    ## the CUDA compiler: this machine's, else NVIDIA's wheels in the cache (100 MB)
	@tools/cuda_toolkit.sh

cuda-gate: cuda-toolkit  ## compile every kernel for every architecture and list its cost (minutes)
	@mkdir -p build && tools/results.py run cuda -- tools/cuda_compile_gate.py --report build/cuda-gate.txt && cat build/cuda-gate.txt

gpu-check:       ## does this machine's card do what the CUDA contract says? (needs nvcc and a card)
	@tools/results.py run gpu -- tools/gpu_check.sh --sanitize && tools/gpu_results.py --keep

gpu-bench:       ## the same, then how fast the kernels are on it
	@tools/results.py run gpu -- tools/gpu_check.sh --bench && tools/gpu_results.py --keep

gpu-results:     ## the figures of a GPU that were committed last
	@tools/gpu_results.py

fuzz: setup      ## fuzz one parser: make fuzz TARGET=gguf SECONDS_MAX=1800
	@tools/results.py run fuzz -- tools/fuzz.sh $(TARGET) $(SECONDS_MAX)

results:         ## every figure measured here beside its bar
	@tools/results.py show

clean:           ## remove build outputs (not the cache of downloads)
	rm -rf build

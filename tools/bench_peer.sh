#!/usr/bin/env bash
# Measures this engine against llama.cpp on the demo model. The first run builds llama-cpp-python
# for this host into the cache (some minutes). AMX is left out of the peer's build: with g++ 12 its
# AMX kernels die of an illegal instruction.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${INFERD_CACHE_DIR:-$HOME/.cache/inferd}
peer=$cache/peer-llama-cpp-0.3.36
if [ ! -e "$peer/ready" ]; then
  echo "bench-peer: building llama-cpp-python 0.3.36 for this host"
  rm -rf "$peer"
  python3 -m venv "$peer"
  "$peer/bin/pip" install -q numpy
  CMAKE_ARGS="-DGGML_NATIVE=ON -DGGML_AMX_INT8=OFF -DGGML_AMX_TILE=OFF -DGGML_AMX_BF16=OFF" \
    "$peer/bin/pip" install -q --no-binary llama-cpp-python llama-cpp-python==0.3.36
  touch "$peer/ready"
fi
model=$(tools/get_model.py smollm2)
tools/results.py run bench-peer -- "$peer/bin/python" tools/bench_peer.py \
  build/release/bench/inferd_peer_bench "$model"

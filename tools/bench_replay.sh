#!/usr/bin/env bash
# Measures the figures of `make bench-replay`; each is kept in build/results/bench-replay.json.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=build/release
keep() { tools/results.py run bench-replay -- "$@"; }
keep "$bin/bench/inferd_model_digest_bench"
INFERD_TOCTOU_ROUNDS=2000 keep "$bin/daemon/daemon_test" '--gtest_filter=*Toctou*'
keep "$bin/bench/inferd_replay_bench" --model "$(tools/get_model.py smollm2)"
keep "$bin/bench/inferd_canary_bench"
keep "$bin/bench/inferd_swap_bench"

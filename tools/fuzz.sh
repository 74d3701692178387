#!/usr/bin/env bash
# usage: tools/fuzz.sh TARGET SECONDS: runs one libFuzzer target from its corpus on every core.
# New inputs stay in build/fuzz/corpus; a crash is kept in build/fuzz/artifacts and is an error.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$1
seconds=$2
tools/build.sh fuzz "fuzz_$target"
binary=$(find build/fuzz -name "fuzz_$target" -type f | head -n1)
corpus=build/fuzz/corpus/$target
artifacts=build/fuzz/artifacts/$target
mkdir -p "$corpus" "$artifacts"
jobs=$(nproc)
crashes() { find "$artifacts" -type f | wc -l; }
before=$(crashes)
echo "fuzz: $target for $seconds s on $jobs cores"
pids=()
for ((job = 0; job < jobs; ++job)); do
  "$binary" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$artifacts/" "$corpus" "tests/fuzz/corpus/$target" \
    >"build/fuzz/$target-$job.log" 2>&1 &
  pids+=($!)
done
status=0
for pid in "${pids[@]}"; do wait "$pid" || status=1; done
grep -h 'stat::number_of_executed_units' build/fuzz/"$target"-*.log || true
# User time of the children, "XmY.Zs", is the first word of the second line of `times`, which must run
# in this shell: a subshell has no children.
times >build/fuzz/times
cpu=$(sed -n 2p build/fuzz/times | cut -d' ' -f1)
echo "WORKLOAD fuzz_$target from its corpus, $seconds s on $jobs cores, $cpu of CPU"
echo "RESULT fuzz.$target.crashes $(($(crashes) - before)) count"
[ $status = 0 ] || { echo "fuzz: look at $artifacts and build/fuzz/$target-*.log" >&2; exit 1; }

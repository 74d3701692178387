#!/usr/bin/env bash
# usage: tools/sim.sh [SEED]: random workloads through the scheduler in simulation, all invariants:
# 2,000 of them, or the one of SEED.   tools/sim.sh --full: the experiments and the mutation gate.
set -euo pipefail
cd "$(dirname "$0")/.."
sim=build/release/tests/simulation/inferd_sim
case ${1:-} in
  --full)
    tools/build.sh release inferd_sim inferd_sim_mutants
    failed=0
    for part in fairness e1 e2 e3 e4 e5 e6 e7 e8 e9 e10 e11; do
      tools/results.py run sim-full -- "$sim" experiments --only "$part" || failed=1
    done
    mutants=$(find build/release/tests/simulation -maxdepth 1 -name 'inferd_sim_*' -type f -perm -u+x |
      sort)
    # shellcheck disable=SC2086
    tools/results.py run sim-full -- tests/simulation/mutant_gate.py --result --clean "$sim" \
      $mutants || failed=1
    exit $failed
    ;;
  "")
    tools/build.sh release inferd_sim
    "$sim" fuzz --seeds 2000
    ;;
  *[!0-9]*)
    echo "sim: the seed should be a number, not $1" >&2
    exit 2
    ;;
  *)
    tools/build.sh release inferd_sim
    "$sim" fuzz --first "$1" --seeds 1
    ;;
esac

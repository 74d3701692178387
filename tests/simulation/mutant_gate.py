#!/usr/bin/env python3
"""Runs simulators with a bug in the scheduler and asks whether an invariant catches each.

usage: mutant_gate.py --clean SIMULATOR [--seeds N] [--result] BINARY...

A bug is caught if a random workload, first those of `fuzz`, then those of `fairness`, reports a
broken invariant or stops at a failed CHECK, and the same workload is fine in the clean simulator.
Says which, and exits 1 if one is missed. --result also prints the figure sim.mutations.missed.
"""
import argparse
import re
import subprocess
import sys

BREAKS = re.compile(r"^seed (\d+) .* breaks `([^`]+)`", re.MULTILINE)
CHECK = re.compile(r"CHECK failed: (.*)$|(runtime error.*)$|(AddressSanitizer.*)$", re.MULTILINE)
THREADS = 1  # so that the first failure is the one with the lowest seed


def run(binary, verb, first, seeds):
    return subprocess.run(
        [binary, verb, "--first", str(first), "--seeds", str(seeds), "--threads", str(THREADS),
         "--first-only", "--no-shrink"], capture_output=True, text=True, check=False)


def seeds_until_crash(binary, verb, first, seeds):
    """A simulator that stops at a CHECK does not say where: at most twice as many as it ran."""
    count = 1
    while count < seeds - first + 1 and run(binary, verb, first, count).returncode == 0:
        count *= 2
    return min(count, seeds - first + 1)


def caught_by(binary, clean, verb, seeds):
    """What caught the bug, or None."""
    first = 1
    while first <= seeds:
        done = run(binary, verb, first, seeds - first + 1)
        if match := BREAKS.search(done.stdout):
            seed = int(match[1])
            if run(clean, verb, seed, 1).returncode == 0:
                return f"`{match[2]}`, {verb} seed {seed}"
            first = seed + 1  # the scheduler as it is fails there, too
            continue
        if done.returncode == 0:
            return None
        if run(clean, verb, first, seeds_until_crash(binary, verb, first, seeds)).returncode < 0:
            return None
        match = CHECK.search(done.stderr)
        return f"{match[0] if match else f'exit {done.returncode}'}, {verb}"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clean", required=True, help="the simulator without a bug")
    parser.add_argument("--seeds", type=int, default=2000)
    parser.add_argument("--result", action="store_true")
    parser.add_argument("binaries", nargs="+", metavar="BINARY")
    args = parser.parse_args()
    missed = 0
    for binary in args.binaries:
        name = binary.rsplit("inferd_sim_", 1)[-1]
        found = (caught_by(binary, args.clean, "fuzz", args.seeds)
                 or caught_by(binary, args.clean, "fairness", args.seeds // 4))
        print(f"{name}: {'caught by ' + found if found else 'MISSED'}", flush=True)
        missed += found is None
    if args.result:
        print(f"WORKLOAD {len(args.binaries)} seeded bugs, {args.seeds} random workloads each")
        print(f"RESULT sim.mutations.missed {missed} count")
    sys.exit(missed > 0)


if __name__ == "__main__":
    main()

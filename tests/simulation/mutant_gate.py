#!/usr/bin/env python3
"""Runs simulators with a bug in the scheduler and asks whether an invariant catches each.

usage: mutant_gate.py [--seeds N] [--result] BINARY...

A bug is caught if a run of random workloads, first those of `fuzz`, then those of `fairness`,
reports a broken invariant or stops at a failed CHECK. Says which, and exits 1 if one is missed.
--result also prints the figure sim.mutations.missed.
"""
import argparse
import re
import subprocess
import sys

BREAKS = re.compile(r"^seed (\d+) .* breaks `([^`]+)`", re.MULTILINE)
CHECK = re.compile(r"^(\S+): CHECK failed: (.*)$|runtime error|AddressSanitizer", re.MULTILINE)


def caught_by(binary, verb, seeds):
    """What caught the bug, or None."""
    done = subprocess.run([binary, verb, "--seeds", str(seeds), "--first-only", "--no-shrink"],
                          capture_output=True, text=True, check=False)
    if match := BREAKS.search(done.stdout):
        return f"`{match[2]}`, {verb} seed {match[1]}"
    if match := CHECK.search(done.stderr):
        return f"{match[0]}, {verb}"
    if done.returncode != 0:
        return f"exit {done.returncode}, {verb}"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000)
    parser.add_argument("--result", action="store_true")
    parser.add_argument("binaries", nargs="+", metavar="BINARY")
    args = parser.parse_args()
    missed = 0
    for binary in args.binaries:
        name = binary.rsplit("inferd_sim_", 1)[-1]
        found = (caught_by(binary, "fuzz", args.seeds)
                 or caught_by(binary, "fairness", args.seeds // 4))
        print(f"{name}: {'caught by ' + found if found else 'MISSED'}", flush=True)
        missed += found is None
    if args.result:
        print(f"WORKLOAD {len(args.binaries)} seeded bugs, {args.seeds} random workloads each")
        print(f"RESULT sim.mutations.missed {missed} count")
    sys.exit(missed > 0)


if __name__ == "__main__":
    main()

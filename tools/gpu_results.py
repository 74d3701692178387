#!/usr/bin/env python3
"""Prints the GPU's figures that were committed last (docs/measurements/gpu.json) beside their bars.

usage: gpu_results.py [--keep]: --keep first copies what `make gpu-check` or `make gpu-bench` measured
here (build/results/gpu.json), for a commit. Without figures it says so and exits 0: no GPU is no fault.
"""
import json
import pathlib
import shutil
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
MEASURED = ROOT / "build/results/gpu.json"
KEPT = ROOT / "docs/measurements/gpu.json"
FIGURES = ROOT / "docs/figures.tsv"


def bars():
    rows = (line.split("\t") for line in FIGURES.read_text().splitlines() if line.startswith("gpu."))
    return {row[0]: f"{row[2]} {row[3]}" for row in rows}


def table(figures, bar_of):
    """A line for each figure: key, value, unit, bar, commit, workload; absent ones say so."""
    for key in sorted(set(figures) | set(bar_of)):
        figure = figures.get(key)
        if figure is None:
            yield f"{key:38} {'absent':>12} {'':8} {bar_of[key]}"
            continue
        where = f"{str(figure.get('commit', ''))[:10]} {figure.get('workload', '')}".strip()
        yield f"{key:38} {figure['value']:>12g} {figure['unit']:8} {bar_of.get(key, '-'):14} {where}"


def main():
    if "--keep" in sys.argv[1:]:
        if not MEASURED.exists():
            sys.exit("gpu_results: nothing was measured here; make gpu-check or make gpu-bench first")
        shutil.copyfile(MEASURED, KEPT)
        print(f"gpu_results: kept in {KEPT.relative_to(ROOT)}; commit it")
    if not KEPT.exists():
        print("gpu_results: no figures of a GPU have been committed; `make gpu-bench` on a machine "
              "with one, then tools/gpu_results.py --keep")
        return
    print("\n".join(table(json.loads(KEPT.read_text())["figures"], bars())))


if __name__ == "__main__":
    main()

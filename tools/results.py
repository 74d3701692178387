#!/usr/bin/env python3
"""Keeps the figures that verbs print, and shows them beside their bars.

  tools/results.py run bench -- build/release/bench/egress_bench --streams 256
  tools/results.py show
  tools/results.py show --strict        # exit 1 unless every figure is there and meets its bar

`run VERB -- COMMAND` passes COMMAND's output through, keeps its exit code, and stores the figures
it printed in build/results/VERB.json. A program prints, each on a line of its own:

  WORKLOAD <free text>            what the figures after it were measured on
  SAMPLE <key> <value>            one raw measurement behind a figure
  RESULT <key> <value> <unit>     the figure

A figure keeps the commit, processor, command and time of the run that made it, so that several
commands may add to one verb. A malformed line is an error of the run: figures are never guessed.
The bars stand in docs/figures.tsv.
"""

import argparse
import json
import math
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT / "docs" / "figures.tsv"
RESULTS_DIR = ROOT / "build" / "results"

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_NOT_FOUND = 127

# `ctest -V` puts the test's number before each line.
LINE = re.compile(r"^(?:\d+: )?(RESULT|SAMPLE|WORKLOAD)(?:\s+(.*?))?\s*$")
KEY = re.compile(r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+$")
VERB = re.compile(r"^[a-z][a-z0-9-]*$")
BAR = re.compile(r"^(<=|>=)\s*(\S+)$")


class Collector:
    """Reads output line by line and gathers its figures."""

    def __init__(self):
        self.workload = ""
        self.samples = {}
        self.figures = {}
        self.errors = []

    def add_line(self, line):
        match = LINE.match(line.rstrip("\r\n"))
        if match is None:
            return
        kind, rest = match.group(1), match.group(2) or ""
        words = rest.split()
        if kind == "WORKLOAD":
            self.workload = rest
        elif kind == "SAMPLE" and len(words) == 2 and KEY.match(words[0]):
            self._keep_number(line, words[1], self.samples.setdefault(words[0], []).append)
        elif kind == "RESULT" and len(words) == 3 and KEY.match(words[0]):
            self._keep_number(line, words[1], lambda value: self._keep(words[0], value, words[2]))
        else:
            self.errors.append(line.rstrip())

    def _keep_number(self, line, text, keep):
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if math.isfinite(value):
            keep(value)
        else:
            self.errors.append(line.rstrip())

    def _keep(self, key, value, unit):
        self.figures[key] = {"value": value, "unit": unit, "workload": self.workload}

    def finished(self):
        """The figures with their samples; samples of keys without a figure are dropped."""
        return {key: dict(figure, samples=self.samples.get(key, []))
                for key, figure in self.figures.items()}


def git(*args):
    done = subprocess.run(["git", "-C", str(ROOT), *args], capture_output=True, text=True,
                          check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def commit_name():
    """The commit, with `-dirty` where tracked files differ from it; "" outside a repository."""
    commit = git("rev-parse", "HEAD")
    return commit + "-dirty" if commit and git("status", "-s", "-uno") else commit


def cpu_name(cpuinfo="/proc/cpuinfo"):
    try:
        with open(cpuinfo, encoding="utf-8", errors="replace") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name.strip() == "model name":
                    return f"{value.strip()} ({os.cpu_count()} cores)"
    except OSError:
        pass
    return ""


def gpu_name():
    try:
        done = subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
                              capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def load_results(path):
    """The figures of a results file; {} if there is none or it is not readable as one."""
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))["figures"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return figures if isinstance(figures, dict) else {}


def store(verb, figures, results_dir):
    """Adds figures to the verb's file, which is replaced as a whole or not at all."""
    path = results_dir / f"{verb}.json"
    merged = {**load_results(path), **figures}
    results_dir.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=results_dir, prefix=verb)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump({"verb": verb, "figures": merged}, file, indent=1, sort_keys=True)
        file.write("\n")
    os.replace(name, path)
    return path


def run(verb, command, results_dir=RESULTS_DIR, out=None):
    """Runs the command and stores its figures. The command's exit code, or 1 if it succeeded but
    printed a malformed line."""
    out = out or sys.stdout
    collector = Collector()
    try:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace",
                                 bufsize=1)
    except OSError as error:
        print(f"results: cannot run {command[0]}: {error.strerror}. Build it first.",
              file=sys.stderr)
        return EXIT_NOT_FOUND
    with child.stdout:
        for line in child.stdout:
            out.write(line)
            out.flush()
            collector.add_line(line)
    code = child.wait()
    code = code if code >= 0 else 128 - code  # a signal, as shells count them
    origin = {"commit": commit_name(), "cpu": cpu_name(), "gpu": gpu_name(),
              "command": shlex.join(command), "exit_code": code,
              "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    figures = {key: {**figure, **origin} for key, figure in collector.finished().items()}
    if figures:
        path = store(verb, figures, results_dir)
        print(f"results: {len(figures)} figures kept in {path}", file=sys.stderr)
    for line in collector.errors:
        print(f"results: not a figure: {line!r}", file=sys.stderr)
    return code if code != 0 or not collector.errors else EXIT_FAILURE


def read_bars(path=FIGURES):
    """The rows of the table of bars, as dicts, in the file's order."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split("\t")
        if len(fields) != 6 or not KEY.match(fields[0]) or not BAR.match(fields[2]):
            raise ValueError(f"{path}:{number}: expected key, verb, bar, unit, command and text")
        row = dict(zip(("key", "verb", "bar", "unit", "command", "what"), fields))
        if any(known["key"] == row["key"] for known in rows):
            raise ValueError(f"{path}:{number}: {row['key']} stands there twice")
        rows.append(row)
    return rows


def meets(bar, value):
    direction, limit = BAR.match(bar).groups()
    return value <= float(limit) if direction == "<=" else value >= float(limit)


def verdict(row, figure):
    """met, MISSED, absent, or what forbids a comparison."""
    if figure is None:
        return "absent"
    if figure["unit"] != row["unit"]:
        return f"unit is {figure['unit']}, not {row['unit']}"
    if figure.get("exit_code"):
        return f"run failed ({figure['exit_code']})"
    return "met" if meets(row["bar"], figure["value"]) else "MISSED"


def table(header, rows):
    """Lines of a table with columns as wide as their widest cell; the last is not padded."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
            for row in [header, *rows]]


def show(results_dir=RESULTS_DIR, figures_path=FIGURES, strict=False, out=None):
    """Prints every known figure beside its bar, then those that have none."""
    out = out or sys.stdout
    found = {}
    for path in sorted(results_dir.glob("*.json")) if results_dir.is_dir() else []:
        found.update({(path.stem, key): figure for key, figure in load_results(path).items()})
    rows, all_met, cpus = [], True, set()
    for bar in read_bars(figures_path):
        figure = found.pop((bar["verb"], bar["key"]), None)
        result = verdict(bar, figure)
        all_met = all_met and result == "met"
        value = "-" if figure is None else f"{figure['value']:.6g}"
        commit = "-" if figure is None else short_commit(figure)
        cpus.update({figure["cpu"]} if figure else ())
        rows.append([bar["key"], value, bar["bar"], bar["unit"], result, commit, bar["command"]])
    for (verb, key), figure in sorted(found.items()):
        cpus.add(figure["cpu"])
        rows.append([key, f"{figure['value']:.6g}", "-", figure["unit"], "no bar",
                     short_commit(figure), f"make {verb}"])
    header = ["key", "value", "bar", "unit", "state", "commit", "made by"]
    print("\n".join(table(header, rows)), file=out)
    for cpu in sorted(cpus):
        print(f"measured on: {cpu or 'a processor that does not say its name'}", file=out)
    return EXIT_FAILURE if strict and not all_met else 0


def short_commit(figure):
    commit, _, dirty = figure["commit"].partition("-")
    return (commit[:10] or "-") + ("+" if dirty else "")


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="action", required=True)
    run_parser = verbs.add_parser("run", help="run a command and keep its figures")
    run_parser.add_argument("verb", help="the file to keep them in: bench, golden, ...")
    run_parser.add_argument("command", nargs="+", metavar="-- command")
    show_parser = verbs.add_parser("show", help="all figures beside their bars")
    show_parser.add_argument("--strict", action="store_true",
                             help="exit 1 unless every bar is met")
    args = parser.parse_args(argv)
    if args.action == "show":
        try:
            return show(strict=args.strict)
        except ValueError as error:
            print(f"results: {error}", file=sys.stderr)
            return EXIT_FAILURE
    if not VERB.match(args.verb):
        parser.error(f"not a verb: {args.verb!r} (lower-case letters, digits and dashes)")
    return run(args.verb, args.command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

#!/usr/bin/env python3
"""Adds up the JUnit reports that tools/test.sh left in build/test and prints one closing line.

usage: summary.py PRESET ...
"""
import pathlib
import sys
import xml.etree.ElementTree as xml

ROOT = pathlib.Path(__file__).resolve().parent.parent


def outcome(case):
    if case.find("failure") is not None or case.get("status") == "fail":
        return "failed"
    if case.find("skipped") is not None or case.get("status") in ("notrun", "disabled"):
        return "skipped"
    return "passed"


def reason(case):
    """The last line that a skipped test printed of itself."""
    text = (case.findtext("system-out") or "").strip().splitlines()
    marked = [line for line in text if "Skipped" in line or "skip" in line.lower()]
    return (marked or text or ["no reason given"])[-1].strip()[:160]


def main():
    totals = {"passed": 0, "failed": 0, "skipped": 0}
    missing = 0
    for preset in sys.argv[1:]:
        report = ROOT / "build/test" / f"{preset}.xml"
        if not report.exists():
            print(f"{preset}: no report; its build or its runner failed")
            missing += 1
            continue
        for case in xml.parse(report).getroot().iter("testcase"):
            what = outcome(case)
            totals[what] += 1
            if what == "failed":
                print(f"failed  {preset}: {case.get('name')}")
            elif what == "skipped":
                print(f"skipped {preset}: {case.get('name')}: {reason(case)}")
    totals["failed"] += missing
    print("{passed} passed, {failed} failed, {skipped} skipped".format(**totals))
    sys.exit(1 if totals["failed"] else 0)


if __name__ == "__main__":
    main()

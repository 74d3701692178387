#!/usr/bin/env python3
"""Policy decisions, judged by PyPI's cedarpy, which is Cedar without anything of ours.

usage: policy_test.py --random-policies PATH [--cases N]

Random policies and requests are decided by both. Cedar leaves out a policy whose evaluation fails;
here an erring forbid denies: that rule is applied to the errors that cedarpy reports, and the rest
must be equal: the answer, the rules that determined it, and the rules that erred. What cannot be
installed skips the test.
"""

import argparse
import json
import re
import subprocess
import sys

import harness
from harness import check, install

CEDARPY = "4.12.2"
# One case has 20 policies and 50 requests. The figure policy.cedarpy_mismatches wants 20,000 of
# both: --cases 1000.
CASES = 60
ERRED = re.compile(r"error while evaluating policy `policy(\d+)`")


def judge():
    venv = harness.CACHE / f"venv-cedarpy-{CEDARPY}"
    ready = venv / "ready"
    with harness.install_lock("venv-cedarpy"):
        if not ready.exists():
            install([sys.executable, "-m", "venv", "--clear", str(venv)], "a virtual environment")
            install([str(venv / "bin" / "pip"), "install", "--quiet", f"cedarpy=={CEDARPY}"],
                    f"cedarpy {CEDARPY}")
            ready.touch()
    return venv / "bin" / "python"


def expected(case, result):
    """Our decision, from what cedarpy says."""
    erred = sorted(int(ERRED.match(error)[1]) for error in result.diagnostics.errors)
    reasons = sorted(int(reason.removeprefix("policy")) for reason in result.diagnostics.reasons)
    erring_forbids = [rule for rule in erred if case["effects"][rule] == "forbid"]
    if not erring_forbids:
        return {"allowed": result.allowed, "rules": reasons, "erred": erred}
    applied = [] if result.allowed else reasons
    return {"allowed": False, "rules": sorted(applied + erring_forbids), "erred": erred}


def compare(lines):
    """In the judge's own interpreter."""
    import cedarpy  # pylint: disable=import-outside-toplevel,import-error
    policies = requests = mismatches = erring = 0
    for line in lines:
        case = json.loads(line)
        results = cedarpy.is_authorized_batch(case["requests"], case["policies"], case["entities"],
                                              case.get("schema"))
        check(len(results) == len(case["requests"]), "cedarpy left requests out")
        for request, ours, result in zip(case["requests"], case["decisions"], results):
            theirs = expected(case, result)
            erring += bool(ours["erred"])
            if ours != theirs:
                mismatches += 1
                print(f"seed {case['seed']}: {json.dumps(request)}\n  ours {ours}\n  theirs {theirs}")
        policies += len(case["effects"])
        requests += len(case["requests"])
    print(f"{policies} policies, {requests} requests, {erring} with errors")
    print(f"RESULT policy.cedarpy_mismatches {mismatches} count")
    return 0 if mismatches == 0 and requests > 0 and erring > 0 else 1


def main():
    if sys.argv[1:] == ["--compare"]:
        return compare(sys.stdin)
    parser = argparse.ArgumentParser()
    parser.add_argument("--random-policies", required=True)
    parser.add_argument("--cases", type=int, default=CASES)
    args = parser.parse_args()
    python = judge()
    with subprocess.Popen([args.random_policies, "--cases", str(args.cases)],
                          stdout=subprocess.PIPE) as maker:
        done = subprocess.run([str(python), __file__, "--compare"], stdin=maker.stdout, check=False)
    return done.returncode or maker.returncode


if __name__ == "__main__":
    sys.exit(main())

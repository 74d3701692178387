#!/usr/bin/env python3
"""Two persons look at a payload, then two persons erase it; then nothing of it is left: in no file of
the daemon, in no copy of them, and, after a restart, nowhere in the daemon's memory.

With --unit PATH (governance_test) it also runs that test's part, old copies of the vault under the
live key store, and prints one figure for both."""

import argparse
import json
import os
import re
import subprocess
import sys

import harness
from audit_cli_test import OTHER_UID, admin_of, let_other_uid_in
from harness import check, check_equal

CANARY = "canary5b1e77"
# Larger mappings are a sanitiser's shadow, which holds no data and cannot be read in time.
MAPPING_BYTES_MAX = 4 << 30


def memory_of(pid):
    """What a debugger would write to a core file: every readable mapping."""
    pieces = []
    with open(f"/proc/{pid}/maps", encoding="ascii", errors="replace") as maps, \
            open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) r", line)
            if match is None or "[v" in line:
                continue
            start, end = (int(text, 16) for text in match.groups())
            if end - start > MAPPING_BYTES_MAX:
                continue
            try:
                memory.seek(start)
                pieces.append(memory.read(end - start))
            except OSError:
                pass  # a guard page, or memory of a device
    return b"".join(pieces)


def files_with(text, folder):
    return [str(path) for path in sorted(folder.rglob("*"))
            if path.is_file() and text in path.read_bytes()]


def run(daemon, unit):
    first = admin_of(daemon)
    let_other_uid_in(daemon)
    second = admin_of(daemon, OTHER_UID)
    answered = daemon.inferctl("generate", f"My name is {CANARY}.", "--end-user", "anna",
                               "--temperature", "0", "--max-tokens", "4", "--ignore-eos")
    check_equal(answered.returncode, 0, answered.stderr)
    leaves = json.loads(first("audit", "search", "--type", "inference.", "-o", "json").stdout)
    rid = leaves["leaves"][0]["rid"]

    asked = json.loads(first("payload", "request", "--tenant", "local", "--rid", rid, "--basis",
                             "case-7", "-o", "json").stdout)["views"][0]
    first("payload", "open", asked["id"], code=1)
    first("payload", "approve", asked["id"], code=4)
    second("payload", "approve", asked["id"])
    second("payload", "open", asked["id"], code=4)
    shown = json.loads(first("payload", "open", asked["id"], "-o", "json").stdout)
    check_equal(shown["prompt"]["text"], f"My name is {CANARY}.", "the prompt that is shown")
    check(f"shown to uid:{os.geteuid()}" in first("payload", "open", asked["id"]).stdout,
          "the page says who saw it")
    check_equal(json.loads(first("payload", "list", "-o", "json").stdout)["views"][0]["num_views"],
                2, "looks")

    erasure = json.loads(first("erase", "request", "--tenant", "local", "--end-user", "anna",
                               "--basis", "case-8", "-o", "json").stdout)["erasures"][0]
    second("erase", "approve", erasure["id"])
    refused = first("payload", "open", asked["id"], code=1)
    check("erased" in refused.stderr, f"why it cannot be opened: {refused.stderr}")
    daemon.restart()
    first("payload", "open", asked["id"], code=1)

    found = files_with(CANARY.encode(), daemon.state)
    found += [f"{path} (the log of its process)" for path in [daemon.log_path]
              if CANARY in daemon.log()]
    try:
        memory = memory_of(daemon.process.pid)
    except PermissionError as error:
        print(f"not looked at: the daemon's memory ({error})", flush=True)
    else:
        # The path of its state is known to be there: else this looked at nothing.
        check(str(daemon.state).encode() in memory, "the memory that was read is the daemon's")
        found += ["the daemon's memory after a restart"] * memory.count(CANARY.encode())
    log = json.loads(first("audit", "log", "-o", "json").stdout)
    first("audit", "verify", "--log", log["folder"], "--key", log["key"])

    count = len(found)
    if unit:
        done = subprocess.run([unit, "--gtest_filter=*ErasedSubjectIsRecoverable*"],
                              capture_output=True, text=True, check=False)
        check_equal(done.returncode, 0, done.stdout)
        count += int(re.search(r"recoverable: (\d+)", done.stdout).group(1))
    print(f"RESULT audit.erased_recoverable {count} count", flush=True)
    check_equal(found, [], "places that still hold what was erased")


if __name__ == "__main__":
    if os.environ.get("INFERD_TEST_AUDIT") == "off":
        harness.skip("there is no audit log to ask")
    if os.geteuid() != 0:
        harness.skip("two persons are two uids: only root may be both")
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--unit")
    known, sys.argv[1:] = parser.parse_known_args()
    harness.Daemon.audit_level = "full"
    sys.exit(harness.main(lambda daemon, _: run(daemon, known.unit)))

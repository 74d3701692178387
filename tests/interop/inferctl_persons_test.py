#!/usr/bin/env python3
"""inferctl policy against the real daemon, with two persons: one proposes a set, another approves it, it
decides, and the former one comes back. Who acts is the uid that the kernel tells of the admin socket's
peer, and nothing else names a person there, so whoever has one uid alone skips this."""

import json
import os
import sys

import harness
import inferctl_admin_test
from audit_cli_test import OTHER_UID, admin_of, let_other_uid_in
from harness import check, check_equal


def run(daemon, _):
    first = admin_of(daemon)
    let_other_uid_in(daemon)
    second = admin_of(daemon, OTHER_UID)

    def generate():
        return daemon.inferctl("generate", "x", *inferctl_admin_test.GREEDY)

    before = json.loads(first("policy", "show", "-o", "json").stdout)["active"]
    proposed = inferctl_admin_test.propose(daemon, first)
    first("policy", "approve", proposed, code=4)
    check_equal(generate().returncode, 0, "while it is proposed")
    second("policy", "approve", proposed)
    check_equal(generate().returncode, 0, "while it is approved")
    first("policy", "activate", proposed)
    denied = generate()
    check_equal(denied.returncode, 4, "what the new set denies")
    check("nothing-long" in denied.stderr, f"by which rule: {denied.stderr}")
    second("policy", "activate", before)
    check_equal(generate().returncode, 0, "after the roll-back")
    steps = json.loads(first("policy", "show", "-o", "json").stdout)["history"]
    check_equal([(step["step"], step["actor"]) for step in steps[1:]],
                [("proposed", f"uid:{os.geteuid()}"), ("approved", f"uid:{OTHER_UID}"),
                 ("activated", f"uid:{os.geteuid()}"), ("activated", f"uid:{OTHER_UID}")],
                "the history")


if __name__ == "__main__":
    if os.environ.get("INFERD_TEST_AUDIT") == "off":
        harness.skip("policies need the audit log")
    if os.geteuid() != 0:
        harness.skip("two persons are two uids: only root may be both")
    harness.Daemon.prepare = staticmethod(inferctl_admin_test.prepare)
    sys.exit(harness.main(run))

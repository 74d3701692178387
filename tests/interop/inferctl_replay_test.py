#!/usr/bin/env python3
"""inferctl replay against the real daemon: answers of several kinds computed again, one by one and all
of a time, under two persons; what cannot be replayed says why; each replay is a leaf, and nothing of
prompts or answers is in what is printed or logged.

Two persons are two uids where the test may change its own: any other user sees that one is not enough."""

import json
import os
import signal
import subprocess
import sys
import time

import harness
from audit_cli_test import OTHER_UID, admin_of, let_other_uid_in
from harness import MODEL, check, check_equal

CANARY = "canary6d03f1"
PROMPT = f"The {CANARY} sails at dawn"
TIME = ("--from", "2020-01-01", "--to", "2100-01-01")
WAIT_SECONDS_MAX = 60
ROOT = os.geteuid() == 0


def write_tenant(folder, level):
    path = folder / "tenants.d" / "local.yaml"
    path.write_text(f"schema_version: 1\nname: local\naudit: {{mode: strict, level: {level}}}\n",
                    encoding="utf-8")
    path.chmod(0o600)


def prepare(folder):
    (folder / "tenants.d").mkdir(mode=0o700)
    write_tenant(folder, "full")
    return f"identity: {{tenants_directory: \"{folder}/tenants.d\"}}\n"


class Replays:
    """The daemon, its two persons, and all that was printed to them."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.persons = {"first": admin_of(daemon), "second": admin_of(daemon, OTHER_UID)}
        self.printed = []
        self.answers = []

    def call(self, *arguments, person="first", code=0):
        done = self.persons[person](*arguments, code=code)
        self.printed += [done.stdout, done.stderr]
        return done

    def serve(self, *flags, end_user="anna"):
        """One answer; its rid."""
        done = self.daemon.inferctl("generate", PROMPT, "-o", "json", "--end-user", end_user, *flags)
        check_equal(done.returncode, 0, f"generate {flags}: {done.stderr}")
        answer = json.loads(done.stdout)
        self.answers += [choice["text"] for choice in answer["choices"]]
        return self.newest_rid(), answer

    def leaves(self, leaf_type):
        found = self.call("audit", "search", "--type", leaf_type, "--limit", "100", "-o", "json")
        return json.loads(found.stdout)["leaves"]

    def newest_rid(self):
        return self.leaves("inference.completed")[0]["rid"]

    def view(self, *of):
        asked = self.call("payload", "request", "--tenant", "local", *of, "--basis", "case-7", "-o",
                          "json")
        view = json.loads(asked.stdout)["views"][0]["id"]
        self.call("payload", "approve", view, code=4)  # by who asked
        if ROOT:
            self.call("payload", "approve", view, person="second")
        return view

    def replay(self, rid, view, code=0):
        """What a replay of one request says."""
        done = self.call("replay", rid, "--view", view, "--json", code=code)
        report = json.loads(done.stdout)
        check_equal((report["view"], report["replays"]), (view, 1), "the report")
        check_equal(report["requests"][0]["rid"], rid, "whose it is")
        return report["requests"][0]

    def replay_all(self, view, code=0):
        done = self.call("replay", "--all", "--view", view, "--tenant", "local", *TIME, "--json",
                         code=code)
        report = json.loads(done.stdout)
        return {line["rid"]: line["result"] for line in report["requests"]}, report["counts"]


def cancelled(replays):
    """A request whose caller left: its rid. An answer that fills the context takes long enough, and is
    left once its first bytes came."""
    known = len(replays.leaves("inference.completed"))
    caller = subprocess.Popen([replays.daemon.inferctl_path, "generate", PROMPT, "--temperature", "0",
                               "--max-tokens", str(harness.CONTEXT - 100), "--ignore-eos",
                               "--endpoint", replays.daemon.endpoint],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    check(caller.stdout.read(1), "an answer that begins")
    caller.send_signal(signal.SIGINT)
    replays.answers.append(caller.stdout.read().decode("utf-8", "replace"))
    caller.wait(timeout=WAIT_SECONDS_MAX)
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while len(replays.leaves("inference.completed")) == known:
        check(time.monotonic() < deadline, "the leaf of a call that was left")
        time.sleep(0.05)
    return replays.newest_rid()


def serve_all(replays):
    """Answers of several kinds, by rid; the tokens of each that a replay compares."""
    greedy = ("--temperature", "0", "--max-tokens", "12", "--ignore-eos")
    sampled = ("--temperature", "0.9", "--top-p", "0.95", "--seed", "7", "--max-tokens", "16",
               "--ignore-eos")
    rids = {}
    for kind, flags in {"greedy": greedy, "sampled": sampled, "choices": ("-n", "3", *sampled),
                        "penalties": ("--repetition-penalty", "1.3", *sampled),
                        "unseeded": ("--temperature", "1", "--max-tokens", "8")}.items():
        rids[kind], answer = replays.serve(*flags)
        if kind == "greedy":
            text = answer["choices"][0]["text"]
    stop = next(text[i:i + 2] for i in range(len(text) // 2, len(text)) if len(text[i:i + 2]) == 2)
    rids["stop"], answer = replays.serve(*greedy, "--stop", stop)
    check_equal(answer["choices"][0]["finish_reason"], "stop", "why a stop string ends an answer")
    rids["cancelled"] = cancelled(replays)
    return rids


def one_by_one(replays, rids):
    covered = {}
    for kind in ("choices", "stop", "cancelled"):
        covered[kind] = replays.view("--rid", rids[kind])
    for kind, view in covered.items():
        found = replays.replay(rids[kind], view)
        check_equal(found["result"], "prefix_match" if kind == "cancelled" else "match", kind)
        check(found["tokens"] > 0 and found["choices"] == (3 if kind == "choices" else 1),
              f"what was compared of {kind}: {found}")
        leaf = json.loads(replays.call("audit", "show", str(found["leaf"]["index"])).stdout)
        check_equal((leaf["t"], leaf["rid"], leaf["d"]["result"], leaf["d"]["view"],
                     leaf["d"]["approved_by"]),
                    ("replay.performed", rids[kind], found["result"], view, f"uid:{OTHER_UID}"),
                    f"the leaf of {kind}")
    replays.call("replay", rids["greedy"], "--view", covered["stop"], code=4)  # of another
    lines = replays.call("replay", rids["stop"], "--view", covered["stop"]).stdout.splitlines()
    check("match" in lines[-1] and rids["stop"] in lines[-1], f"the same for people: {lines}")


def all_of_a_time(replays, rids):
    view = replays.view(*TIME)
    found, counts = replays.replay_all(view)
    check_equal(found, {rid: "prefix_match" if kind == "cancelled" else "match"
                        for kind, rid in rids.items()}, "all")
    check_equal(counts, {"match": len(rids) - 1, "prefix_match": 1}, "their counts")
    done = replays.call("replay", "--all", "--view", view, "--tenant", "local", *TIME,
                        "--per-second-max", "1000")
    check(f"{len(rids)} requests, {len(rids) - 1} match, 1 prefix_match" in done.stdout,
          f"the same for people: {done.stdout}")
    replays.call("payload", "open", view, code=1)  # it is for replays alone
    return view


def refusals(replays, rids, view):
    """Why not: each a result of its own, and what the command ends with."""
    replays.call("replay", rids["greedy"], code=2)  # no view
    replays.call("replay", "--all", "--view", view, code=2)
    replays.call("replay", rids["greedy"], "--view", "01JD0000000000000000000000", code=3)
    unknown = replays.replay("01JD0000000000000000000000", view, code=1)
    check_equal(unknown["result"], "not_kept", "a request that never was")

    write_tenant(replays.daemon.state.parent, "metadata")
    replays.call("tenant", "reload")
    rids["metadata"], _ = replays.serve("--temperature", "0", "--max-tokens", "2")
    found = replays.replay(rids["metadata"], view, code=1)
    check_equal(found["result"], "not_kept", "at level metadata")
    check("the level was metadata" in found["reason"], f"why: {found}")
    write_tenant(replays.daemon.state.parent, "full")
    replays.call("tenant", "reload")

    rids["erased"], _ = replays.serve("--temperature", "0", "--max-tokens", "2", end_user="berta")
    view = replays.view(*TIME)
    erasure = json.loads(replays.call("erase", "request", "--tenant", "local", "--end-user", "berta",
                                      "--basis", "case-8", "-o", "json").stdout)["erasures"][0]
    replays.call("erase", "approve", erasure["id"], person="second")
    check_equal(replays.replay(rids["erased"], view, code=1)["result"], "erased", "after an erasure")

    results, counts = replays.replay_all(view)
    check_equal((results[rids["metadata"]], results[rids["erased"]], counts["match"]),
                ("not_kept", "erased", len(rids) - 3), "all, with some that cannot be")
    performed = len(replays.leaves("replay.performed"))
    replays.call("model", "unload", MODEL, "--drain", "60")
    found = replays.replay(rids["greedy"], view, code=1)
    check_equal(found["result"], "not_resident", "after the model left")
    check("load that version" in found["reason"], f"what to do: {found}")
    check_equal(len(replays.leaves("replay.performed")), performed + 1, "its leaf")
    results, counts = replays.replay_all(view, code=1)
    check_equal((counts["not_resident"], counts.get("match")), (len(rids) - 2, None), "all, then")
    replays.call("model", "load", MODEL, str(replays.daemon.state.parent / "tiny.gguf"))
    check_equal(replays.replay(rids["greedy"], view)["result"], "match", "once it is back")


def run(daemon, _):
    if ROOT:
        let_other_uid_in(daemon)
    replays = Replays(daemon)
    rids = serve_all(replays)
    if not ROOT:
        view = replays.view("--rid", rids["greedy"])
        replays.call("replay", rids["greedy"], "--view", view, code=1)
        print("not root: no second person to approve")
        return
    one_by_one(replays, rids)
    view = all_of_a_time(replays, rids)
    refusals(replays, rids, view)
    replays.call("audit", "verify")
    # Answers of a few letters may stand anywhere by chance.
    texts = [CANARY] + [text for text in replays.answers if len(text) >= 8]
    check(len(texts) >= 4, "answers to look for")
    for text in texts:
        for printed in (*replays.printed, daemon.log()):
            check(text not in printed and json.dumps(text)[1:-1] not in printed,
                  f"what was asked or answered is shown: {printed[:300]!r}")


if __name__ == "__main__":
    if os.environ.get("INFERD_TEST_AUDIT") == "off":
        harness.skip("replays need the audit log")
    harness.Daemon.prepare = staticmethod(prepare)
    harness.Daemon.audit_level = "full"
    sys.exit(harness.main(run))

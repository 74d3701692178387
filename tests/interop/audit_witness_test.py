#!/usr/bin/env python3
"""inferd-witness cosigns the log of a real daemon; a verifier asks for its signature; a daemon that is
given an old copy of its state is found out by the witness and refuses to go on. Where Go is there,
another implementation (github.com/transparency-dev/witness) judges both sides: it asks our witness, and
it cosigns our log."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import harness
from audit_cli_test import admin_of
from harness import TestFailure, check, check_equal

HERE = Path(__file__).resolve().parent
GREEDY = ("--temperature", "0", "--max-tokens", "2", "--ignore-eos")


@contextlib.contextmanager
def witness(daemon, folder, log_key, port=0):
    """A running inferd-witness: its url."""
    program = Path(daemon.inferd_path).parent / "inferd-witness"
    with subprocess.Popen([program, "--key", folder / "witness.key", "--folder", folder / "seen",
                           "--log", log_key, "--listen", f"127.0.0.1:{port}"],
                          stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            match = re.search(r"http://127\.0\.0\.1:\d+", line)
            check(match is not None, f"what inferd-witness says: {line!r}")
            yield match.group(0)
        finally:
            process.terminate()
            check_equal(process.wait(timeout=60), 0, "inferd-witness's exit status")


def launch(daemon):
    with open(daemon.log_path, "a", encoding="utf-8") as log:
        daemon.process = subprocess.Popen(
            [daemon.inferd_path, "--config", str(daemon.config_path)], stderr=log)


def start(daemon):
    launch(daemon)
    daemon.wait_ready()


def wait_for(what, condition, seconds=120):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.2)
    raise TestFailure(f"never: {what}")


def cosigned(admin, at_least):
    """What the witness has cosigned, once that is this much."""
    def state():
        done = admin("audit", "witness", "-o", "json", code=None)
        states = json.loads(done.stdout)["witnesses"]
        enough = states and all(state["cosigned_size"] >= at_least for state in states)
        return enough and {state["name"]: state for state in states}["w1"]
    return wait_for(f"{at_least} leaves cosigned", state)


def size_of(admin):
    return int(json.loads(admin("audit", "log", "-o", "json").stdout)["checkpoint"].split("\n")[1])


def judge_path():
    """The other implementation, built once; a message and None where it cannot be had."""
    source = HERE / "witness_judge"
    files = [source / name for name in ("go.mod", "main.go")]
    version = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
    folder = harness.CACHE / "tools" / f"witness-judge-{version}"
    path = folder / "witness_judge"
    with harness.install_lock("witness-judge"):
        if path.exists():
            return path
        if shutil.which("go") is None:
            print("not judged by another implementation: no go on this host", flush=True)
            return None
        folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copy(file, folder)
        done = subprocess.run(["go", "build", "-o", str(path), "."], cwd=folder,
                              env={**os.environ, "GOFLAGS": "-mod=mod"}, capture_output=True,
                              text=True, check=False, timeout=harness.INSTALL_SECONDS_MAX)
        if done.returncode != 0:
            print(f"not judged by another implementation: {done.stderr[-300:]}", flush=True)
            return None
    return path


def judge_our_witness(judge, daemon, folder):
    """Their log asks our witness."""
    def key(name):
        return subprocess.run([judge, "key", name], capture_output=True, text=True,
                              check=True).stdout.split()
    secret, public = key("log.example.org")
    stranger, _ = key("log.example.org")
    witness_key = subprocess.run(
        [daemon.inferctl_path, "keys", "signer", "--witness", "--name", "w2.example.org", "--out",
         folder / "witness.key"], capture_output=True, text=True, check=True).stdout.strip()
    with witness(daemon, folder, public) as url:
        done = subprocess.run([judge, "ask", url, witness_key, secret, stranger],
                              capture_output=True, text=True, check=False, timeout=120)
        check_equal((done.returncode, done.stdout), (0, "ok\n"), f"their log: {done.stderr}")


@contextlib.contextmanager
def their_witness(judge, log_key):
    """Url and public key of a witness of theirs; none without a judge."""
    if judge is None:
        yield None
        return
    with subprocess.Popen([judge, "serve", log_key], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().split()
        finally:
            process.kill()


def run(daemon, _):
    folder = daemon.state.parent
    admin = admin_of(daemon)
    log = json.loads(admin("audit", "log", "-o", "json").stdout)
    key = admin("keys", "signer", "--witness", "--name", "w1.example.org", "--out",
                str(folder / "witness.key"), plane=False).stdout.strip()
    policy = folder / "policy"
    daemon.stop()
    judge = judge_path()
    if judge is not None:
        (folder / "judge").mkdir()
        judge_our_witness(judge, daemon, folder / "judge")
    with witness(daemon, folder, log["key"]) as url, their_witness(judge, log["key"]) as theirs:
        also = f"witness theirs {theirs[1]} {theirs[0]}\ngroup both all w1 theirs\n" if theirs else ""
        quorum = "both" if theirs else "w1"
        policy.write_text(
            f"log {log['key']}\nwitness w1 {key} {url}\n{also}quorum {quorum}\n")
        config = daemon.config_path.read_text(encoding="utf-8")
        daemon.config_path.write_text(
            config.replace("reserve_bytes: 0", f"reserve_bytes: 0, witness_policy: \"{policy}\""),
            encoding="utf-8")
        start(daemon)
        size = size_of(admin)
        state = cosigned(admin, size)
        check_equal((state["name"], state["key"], state["error"]), ("w1", key, ""), "its state")
        check("w1" in admin("audit", "witness").stdout, "the table names it")
        daemon.inferctl("generate", "one", *GREEDY)
        trust = ("--log", log["folder"], "--policy", str(policy))
        found = json.loads(admin("audit", "verify", *trust, "-o", "json", plane=False).stdout)
        check(found["sound"] and found["shards"][0]["witnessed_size"] >= size, f"found: {found}")
        evidence(admin, folder, policy, key)

        daemon.stop()
        shutil.copytree(daemon.state, folder / "backup")
        start(daemon)
        for _ in range(20):
            daemon.inferctl("generate", "two", *GREEDY)
        cosigned(admin, size_of(admin))
        daemon.stop()
        daemon.state.rename(folder / "good")
        (folder / "backup").rename(daemon.state)
        launch(daemon)
        # The witness is heard before or after the daemon is ready; either way the log is at its end.
        check(daemon.process.wait(timeout=120) != 0, "a daemon with an old state ends")
        check("ROLLBACK_DETECTED" in daemon.log(), "its log says why")
        shutil.rmtree(daemon.state)
        (folder / "good").rename(daemon.state)
        start(daemon)
        cosigned(admin, size_of(admin))


def evidence(admin, folder, policy, witness_key):
    """The quorum is asked for in bundles, too."""
    admin("keys", "signer", "--name", "alice", "--out", str(folder / "alice.key"), plane=False)
    bundle = folder / "local.tar"
    made = json.loads(admin("audit", "export", "--tenant", "_log", "--policy", str(policy),
                            "--sign-key", str(folder / "alice.key"), "--out", str(bundle), "-o",
                            "json").stdout)
    check_equal(made["shards"][0]["witnesses"], policy.read_text().count("\nwitness "),
                "witnesses of the bundle's checkpoint")
    check(witness_key.encode() in bundle.read_bytes(), "the witness's key is in the bundle")
    admin("audit", "verify", "--bundle", str(bundle), "--policy", str(policy), plane=False)
    other = folder / "other.policy"
    stranger = admin("keys", "signer", "--witness", "--name", "w2", "--out", str(folder / "w2.key"),
                     plane=False).stdout.strip()
    other.write_text(policy.read_text().replace(witness_key, stranger))
    admin("audit", "verify", "--bundle", str(bundle), "--policy", str(other), plane=False, code=6)


if __name__ == "__main__":
    if os.environ.get("INFERD_TEST_AUDIT") == "off":
        harness.skip("there is no audit log to witness")
    sys.exit(harness.main(run))

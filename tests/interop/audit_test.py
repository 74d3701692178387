#!/usr/bin/env python3
"""The audit log, judged by programs that know C2SP's specifications and nothing of ours.

usage: audit_test.py --log-maker PATH --audit-verify PATH

Tessera's fsck checks every tile and bundle, Go's sumdb/note opens the checkpoint, tlog-scales makes
proofs that audit-verify must take. Each must also refuse the log once a byte of it is changed. What
cannot be installed is left out, with the reason; if nothing can, the test is skipped.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import harness
from harness import check, check_equal

LEAVES = 700
TESSERA = "v1.0.4"
X_MOD = "v0.33.0"
TLOG_SCALES = "0.0.3"
HERE = Path(__file__).resolve().parent


class CannotInstall(Exception):
    """Why one of the judges is not there."""


def install(command, what, **kwargs):
    try:
        harness.install(command, what, **kwargs)
    except SystemExit:
        raise CannotInstall(what) from None


def need(program):
    path = shutil.which(program)
    if path is None:
        raise CannotInstall(f"no {program} on this host")
    return path


def fsck_path():
    path = harness.CACHE / "tools" / f"tessera-{TESSERA}" / "fsck"
    with harness.install_lock("tessera"):
        if not path.exists():
            install([need("go"), "install",
                     f"github.com/transparency-dev/tessera/cmd/fsck@{TESSERA}"],
                    f"Tessera's fsck {TESSERA}",
                    env={**os.environ, "GOBIN": str(path.parent), "GOFLAGS": ""})
    return path


def note_path():
    folder = harness.CACHE / "tools" / f"sumdb-note-{X_MOD}"
    path = folder / "sumdb_note"
    with harness.install_lock("sumdb-note"):
        if not path.exists():
            go = need("go")
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(HERE / "sumdb_note" / "main.go", folder / "main.go")
            (folder / "go.mod").write_text("module sumdb_note\n\ngo 1.21\n", encoding="utf-8")
            env = {**os.environ, "GOFLAGS": "-mod=mod"}
            install([go, "get", f"golang.org/x/mod@{X_MOD}"], f"golang.org/x/mod {X_MOD}",
                    cwd=folder, env=env)
            install([go, "build", "-o", str(path), "."], "sumdb/note", cwd=folder, env=env)
    return path


def tlog_tiles_path():
    venv = harness.CACHE / f"venv-tlog-scales-{TLOG_SCALES}"
    ready = venv / "ready"
    with harness.install_lock("venv-tlog-scales"):
        if not ready.exists():
            install([sys.executable, "-m", "venv", "--clear", str(venv)], "a virtual environment")
            install([str(venv / "bin" / "pip"), "install", "--quiet",
                     f"tlog-scales=={TLOG_SCALES}"], f"tlog-scales {TLOG_SCALES}")
            ready.touch()
    return venv / "bin" / "tlog-tiles"


def run(*command, timeout=120):
    return subprocess.run([str(word) for word in command], capture_output=True, check=False,
                          timeout=timeout)


class Log:
    """A log that inferd_log_maker wrote."""

    def __init__(self, args, folder):
        self.audit_verify = args.audit_verify
        self.folder = folder
        made = run(args.log_maker, folder / "node", LEAVES)
        check_equal(made.returncode, 0, "the log maker's exit status")
        self.origin, self.vkey = made.stdout.decode().split()
        self.vkey_file = folder / "vkey"
        self.vkey_file.write_text(self.vkey + "\n", encoding="utf-8")
        self.shard = folder / "node" / "log" / self.origin.rsplit("/", 1)[1]
        # The log adds leaves of its own, one where the disk is nearly full.
        checkpoint = (self.shard / "checkpoint").read_text(encoding="utf-8")
        self.size = int(checkpoint.split("\n")[1])
        check(self.size >= LEAVES, f"a log of {self.size} leaves, {LEAVES} wanted")


def with_changed_byte(path, call):
    """What `call` gives while a byte in the middle of the file is another."""
    original = path.read_bytes()
    changed = bytearray(original)
    changed[len(changed) // 2] ^= 1
    path.write_bytes(changed)
    try:
        return call()
    finally:
        path.write_bytes(original)


def judge_with_fsck(log):
    fsck = fsck_path()

    def call(timeout):
        return run(fsck, "--ui=false", "--origin", log.origin, "--public_key", log.vkey_file,
                   "--storage_url", f"file://{log.shard}/", timeout=timeout).stderr.decode()

    def call_in_vain():
        try:
            return call(timeout=10)
        except subprocess.TimeoutExpired:
            return ""  # it tries again and again to read what is bad
    # Its exit status is 0 whatever it finds.
    good = f"Successfully fsck'd log with size {log.size}"
    said = call(timeout=120)
    check(good in said, f"fsck: {said[-500:]}")
    for name in ("checkpoint", "tile/entries/001", "tile/0/000"):
        check(good not in with_changed_byte(log.shard / name, call_in_vain),
              f"fsck takes a changed {name}")


def judge_with_note(log):
    program = note_path()

    def call():
        return run(program, log.vkey_file, log.shard / "checkpoint")
    done = call()
    check_equal(done.returncode, 0, f"sumdb/note: {done.stderr.decode()}")
    check(done.stdout.decode().startswith(f"{log.origin}\n{log.size}\n"), "another text")
    check(with_changed_byte(log.shard / "checkpoint", call).returncode != 0,
          "sumdb/note takes a changed checkpoint")


def judge_with_tlog_tiles(log):
    program = tlog_tiles_path()
    for index in (0, 255, 256, 511, log.size - 1):
        leaf = run(program, "get-leaf", "--check", log.shard, index)
        check_equal(leaf.returncode, 0, f"tlog-tiles get-leaf: {leaf.stderr.decode()[-500:]}")
        proof = run(program, "gen-proof", log.shard, index)
        check_equal(proof.returncode, 0, f"tlog-tiles gen-proof: {proof.stderr.decode()[-500:]}")
        (log.folder / "leaf").write_bytes(leaf.stdout)
        (log.folder / "proof").write_bytes(proof.stdout)
        checked = run(log.audit_verify, "check", log.folder / "proof", log.folder / "leaf",
                      "--vkey", log.vkey)
        check_equal(checked.returncode, 0, f"audit-verify check: {checked.stderr.decode()}")
        ours = run(log.audit_verify, "prove", log.folder / "node", log.shard.name, index,
                   "--vkey", log.vkey)
        check_equal(ours.stdout, proof.stdout, f"proof of leaf {index}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--log-maker", required=True)
    parser.add_argument("--audit-verify", required=True)
    args = parser.parse_args()
    failures, judged, missing = 0, 0, []
    with tempfile.TemporaryDirectory(prefix="inferd_interop_audit_") as folder:
        log = Log(args, Path(folder))
        verified = run(args.audit_verify, "verify", Path(folder) / "node", "--vkey", log.vkey)
        check_equal(verified.returncode, 0, f"audit-verify: {verified.stdout.decode()}")
        for judge in (judge_with_fsck, judge_with_note, judge_with_tlog_tiles):
            try:
                judge(log)
                judged += 1
            except CannotInstall as reason:
                missing.append(str(reason))
            except harness.TestFailure as failure:
                failures += 1
                print(f"failed: {judge.__name__}: {failure}", flush=True)
    if judged + failures == 0:
        harness.skip(f"none of the judges is here: {'; '.join(missing)}")
    for reason in missing:
        print(f"left out: {reason}")
    if not missing:
        print(f"RESULT audit.interop_failures {failures} count")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

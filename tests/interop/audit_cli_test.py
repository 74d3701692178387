#!/usr/bin/env python3
"""inferctl audit, erase and hold against the real daemon, over its admin socket; two persons are two
uids where the test may change its own."""

import json
import os
import subprocess
import sys

import harness
from harness import check, check_equal

GREEDY = ("--temperature", "0", "--max-tokens", "6", "--ignore-eos")
OTHER_UID = 65534


def admin_of(daemon, uid=None):
    socket = daemon.state / "admin.sock"

    def call(*arguments, code=0, plane=True):
        where = ("--admin", f"unix:{socket}") if plane else ()
        done = subprocess.run([daemon.inferctl_path, *arguments, *where],
                              capture_output=True, text=True, check=False, timeout=120, user=uid)
        check_equal(done.returncode, done.returncode if code is None else code,
                    f"inferctl {arguments} ({done.stdout[-500:]} {done.stderr})")
        return done

    return call


def let_other_uid_in(daemon):
    """Opens the admin plane to OTHER_UID, whatever groups it has. For root alone."""
    os.chmod(daemon.state.parent, 0o711)
    os.chmod(daemon.state, 0o711)
    os.chmod(daemon.state / "admin.sock", 0o666)


def evidence(admin, folder, log_key, leaf):
    """A bundle of the tenant and one of a request; both check out offline, and a changed byte does not."""
    exporter = admin_keys(admin, folder / "alice.key", "alice.example.org")
    bundle = folder / "local.tar"
    made = json.loads(admin("audit", "export", "--tenant", "local", "--from", "2020-01-01",
                            "--sign-key", str(folder / "alice.key"), "--out", str(bundle), "-o",
                            "json").stdout)
    check(made["leaves"] >= 3 and made["exporter"] == exporter, f"what was exported: {made}")
    one = folder / "one.tar"
    admin("audit", "export", "--rid", leaf["rid"], "--sign-key", str(folder / "alice.key"),
          "--out", str(one))
    trust = ("--key", log_key, "--exporter", exporter)
    found = json.loads(admin("audit", "verify", "--bundle", str(one), *trust, "-o", "json").stdout)
    check_equal((found["sound"], found["leaves"]), (True, 2), "a request's bundle")
    check_equal(sorted(found), ["documents", "exporter", "from", "leaves", "made_at", "rids",
                                "shards", "sound", "tenant", "to"], "members of the answer")
    check("verified: " in admin("audit", "verify", "--bundle", str(bundle), *trust).stdout,
          "a tenant's bundle")
    names = subprocess.run(["tar", "tf", str(bundle)], capture_output=True, text=True, check=True)
    check("MANIFEST" in names.stdout.splitlines(), "any tar reads it")
    data = bytearray(bundle.read_bytes())
    data[len(data) // 2] ^= 1
    bundle.write_bytes(data)
    admin("audit", "verify", "--bundle", str(bundle), *trust, code=6)
    admin("audit", "verify", "--bundle", str(one), code=2)
    admin("audit", "verify", "--bundle", str(folder / "none.tar"), *trust, code=3)
    admin("audit", "export", "--tenant", "nobody", "--sign-key", str(folder / "alice.key"), "--out",
          str(bundle), code=3)
    admin("audit", "export", "--tenant", "local", "--out", str(bundle), code=2)


def admin_keys(admin, path, name):
    """Makes a signer's key; returns its public key."""
    return admin("keys", "signer", "--name", name, "--out", str(path), plane=False).stdout.strip()


def run(daemon, _):
    admin = admin_of(daemon)
    answered = daemon.inferctl("generate", "The sea", *GREEDY, "-o", "json")
    check_equal(answered.returncode, 0, answered.stderr)
    daemon.inferctl("generate", "x", "-m", "nobody")

    log = json.loads(admin("audit", "log", "-o", "json").stdout)
    check_equal(log["fault"], "", "the log's fault")
    rows = json.loads(admin("audit", "search", "--type", "inference.", "-o", "json").stdout)
    check_equal([row["type"] for row in rows["leaves"]],
                ["inference.denied", "inference.completed", "inference.admitted"], "search")
    completed = rows["leaves"][1]
    check_equal(completed["output_tokens"], 6, "tokens in the index")
    leaf = json.loads(admin("audit", "show", str(completed["index"])).stdout)
    check_equal(leaf["rid"], completed["rid"], "the leaf that is shown")
    check_equal(leaf["adm"], rows["leaves"][2]["index"], "its admitted leaf")
    proof = admin("audit", "prove", str(completed["index"])).stdout
    check(proof.startswith("c2sp.org/tlog-proof@v1\n"), f"a proof: {proof[:40]!r}")
    tail = admin("audit", "tail", "--limit", "3", "-o", "json").stdout.splitlines()
    check_equal(len(tail), 3, "lines of tail")
    check("verified: " in admin("audit", "verify").stdout, "verify by way of the daemon")
    offline = ("audit", "verify", "--log", log["folder"], "--key", log["key"], "-o", "json")
    check(json.loads(admin(*offline).stdout)["sound"], "verify without it")
    page = daemon.state.parent / "report.html"
    admin("audit", "report", "--tenant", "local", "--from", "2020-01-01", "--out", str(page))
    html = page.read_text(encoding="utf-8")
    for text in ("The log verifies.", "MODEL_NOT_FOUND", completed["digest"], "config.changed"):
        check(text in html, f"the report lacks {text!r}")
    check("src=" not in html and "href=" not in html, "the report needs something from elsewhere")

    copy = daemon.state.parent / "copy"
    admin("audit", "export", "--out", str(copy))
    admin("audit", "export", "--out", str(copy), code=2)
    key = (copy / "key").read_text(encoding="utf-8").strip()
    admin("audit", "verify", "--log", str(copy / "log"), "--key", key)

    evidence(admin, daemon.state.parent, log["key"], completed)

    hold = json.loads(admin("hold", "set", "--tenant", "local", "--basis", "court-1", "-o",
                            "json").stdout)["holds"][0]
    erasure = json.loads(admin("erase", "request", "--tenant", "local", "--basis", "case-7", "-o",
                               "json").stdout)["erasures"][0]
    admin("erase", "approve", erasure["id"], code=4)
    admin("hold", "release", hold["id"])
    admin("hold", "release", hold["id"], code=4)
    if os.geteuid() == 0:
        let_other_uid_in(daemon)
        second = admin_of(daemon, OTHER_UID)
        released = json.loads(second("hold", "release", hold["id"], "-o", "json").stdout)
        check(released["holds"][0]["released"], "two persons release")
        done = json.loads(second("erase", "approve", erasure["id"], "-o",
                                 "json").stdout)["erasures"][0]
        check_equal((done["state"], done["num_records"], done["approved_by"]),
                    ("executed", 3, f"uid:{OTHER_UID}"), "two persons erase: prompt, answer, replay")
    admin("erase", "approve", "01JD0000000000000000000000", code=3)

    daemon.stop()
    rebuilt = subprocess.run([daemon.inferd_path, "--config", str(daemon.config_path),
                              "--rebuild-index"], capture_output=True, text=True, check=False)
    check_equal(rebuilt.returncode, 0, rebuilt.stderr)
    admin(*offline)
    # The widest of the partial bundles is the one that the checkpoint needs.
    bundle = max((daemon.state / "log").glob("*/tile/entries/000.p/*"), key=lambda p: int(p.name))
    data = bytearray(bundle.read_bytes())
    data[len(data) // 2] ^= 1
    bundle.chmod(0o600)
    bundle.write_bytes(data)
    admin(*offline, code=6)


if __name__ == "__main__":
    if os.environ.get("INFERD_TEST_AUDIT") == "off":
        harness.skip("there is no audit log to ask")
    harness.Daemon.audit_level = "full"
    sys.exit(harness.main(run))

#!/usr/bin/env python3
"""The life of a model through inferctl and the real daemon: signed, added, approved, loaded, rolled out
session by session, rolled back, restarted, revoked; each step with what it refuses, its exit code and
what it says.

Four persons are four uids where the test may change its own. Any other user is all of them, and the
registry is told that one person is enough."""

import hashlib
import json
import os
import subprocess
import sys

import harness
from audit_cli_test import admin_of, let_other_uid_in
from harness import MODEL, check, check_equal

SHORT = ("--temperature", "0", "--max-tokens", "1", "--ignore-eos")
ROOT = os.geteuid() == 0
# olga operates, eve submits (and would approve), ann and bob approve.
PERSONS = {"olga": (0, "operator, compliance-reader"), "eve": (65534, "model-submitter, model-approver"),
           "ann": (65533, "model-approver"), "bob": (65532, "model-approver")}
ALL_ROLES = "operator, compliance-reader, model-submitter, model-approver"
FIRST, SECOND = f"{MODEL}:1", f"{MODEL}:2"
ALIAS = f"{MODEL}#default"


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def make_key(folder, name):
    secret, public = folder / f"{name}.key", folder / f"{name}.pem"
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", secret)
    openssl("ec", "-in", secret, "-pubout", "-out", public)
    secret.chmod(0o600)


def prepare(folder):
    for name in ("signer", "stranger"):
        make_key(folder, name)
    persons = ([f"{{name: \"uid:{uid}\", roles: [{roles}]}}" for uid, roles in PERSONS.values()]
               if ROOT else [f"{{name: \"uid:{os.geteuid()}\", roles: [{ALL_ROLES}]}}"])
    return (f"identity: {{administrators: [{', '.join(persons)}]}}\n"
            f"registry: {{two_persons: {str(ROOT).lower()}, signatures: optional, "
            f"public_keys: [\"{folder}/signer.pem\"]}}\n")


def root_digest(path):
    """The specification's, of one file shorter than a shard."""
    return "sha256:" + hashlib.sha256(hashlib.sha256(path.read_bytes()).digest()).hexdigest()


def changed(path, copy):
    """A copy with one other byte, at its end: a weight."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    copy.write_bytes(data)
    return copy


def canary_point(rollout, session):
    """Where a session of tenant `local` falls, 0 to 9999, as docs/models.md says."""
    hashed = hashlib.sha256()
    for field in ("inferd-canary-v1", rollout, "local", session):
        hashed.update(f"{len(field)}:{field}".encode())
    return int.from_bytes(hashed.digest()[:8], "big") % 10000


def sessions_between(rollout, low, high, count):
    found, number = [], 0
    while len(found) < count:
        name = f"session-{low}-{number}"
        number += 1
        if low <= canary_point(rollout, name) < high:
            found.append(name)
    return found


class Life:
    """What the steps share: the daemon, the persons, and the files of two versions."""

    def __init__(self, daemon, random_model):
        self.daemon = daemon
        self.folder = daemon.state.parent
        self.first = self.folder / "tiny.gguf"
        self.second = self.folder / "tiny-2.gguf"
        subprocess.run([random_model, "--family", "llama", "--seed", "8", "--context",
                        str(harness.CONTEXT), str(self.second)], check=True)
        self.signature = self.folder / "tiny-2.sig"
        self.digests = {"1": root_digest(self.first), "2": root_digest(self.second)}
        self.persons = {name: admin_of(daemon, uid if ROOT and uid else None)
                        for name, (uid, _) in PERSONS.items()}

    def call(self, person, *arguments, code=0, says=""):
        """`inferctl model ARGUMENTS` by a person. What it says: on stdout if it succeeds, else on
        stderr alone, behind "error: "."""
        done = self.persons[person]("model", *map(str, arguments), code=code,
                                    plane=arguments[0] not in ("digest", "sign", "verify"))
        text, other = (done.stdout, done.stderr) if code == 0 else (done.stderr, done.stdout)
        check_equal(other, "", f"the other stream of {arguments}")
        check(code == 0 or text.startswith("error: "), f"{arguments} says {text!r}")
        check(says in text, f"{arguments} says {text!r}, not {says!r}")
        return text

    def json_of(self, *arguments):
        return json.loads(self.call("olga", *arguments, "--json"))

    def two_persons_call(self, person, *arguments, code, says):
        """A refusal that needs persons who are told apart."""
        if ROOT:
            self.call(person, *arguments, code=code, says=says)

    def ask(self, model, session=""):
        """The version that answers, or the exit code and reason with which none does."""
        where = ("--session", session) if session else ()
        done = self.daemon.inferctl("generate", "The sea", *SHORT, "-o", "json", "-m", model, *where)
        if done.returncode != 0:
            check(done.stderr.startswith("error: "), f"stderr of {model}: {done.stderr!r}")
            reasons = [word.strip("[](),.;") for word in done.stderr.split()
                       if "_" in word and word.strip("[](),.;").isupper()]
            return done.returncode, reasons[0] if reasons else done.stderr
        digest = json.loads(done.stdout)["digest"]
        (version,) = [name for name, known in self.digests.items() if known == digest]
        return version

    def expect(self, answers, when):
        for (model, *session), expected in answers.items():
            check_equal(self.ask(model, *session), expected, f"{when}, {model} {session}")

    def state(self):
        """Of each version, its stage and whether it is in memory; what the alias names."""
        listed = self.json_of("versions", MODEL)
        return ({version["version"]: (version["stage"], version["resident"])
                 for version in listed["versions"]}, listed["aliases"][0]["version"])


def signing(life):
    folder, second, signature = life.folder, life.second, life.signature
    check_equal(life.call("olga", "digest", second).strip(), life.digests["2"], "the digest")
    life.call("olga", "digest", folder / "none.gguf", code=3)
    life.call("olga", "sign", second, "--key", folder / "signer.key", "--signature", signature,
              says=life.digests["2"])
    trust = ("--signature", signature, "--public-key", folder / "signer.pem")
    life.call("olga", "verify", second, *trust, says="verified: 1 files, signed by ")
    life.call("olga", "verify", second, "--signature", signature, "--public-key",
              folder / "stranger.pem", code=6)
    (folder / "changed").mkdir()
    other = changed(second, folder / "changed" / second.name)
    life.call("olga", "verify", other, *trust, code=6, says=f"{second.name} has other bytes")
    life.call("eve", "add", SECOND, other, "--signature", signature, code=1,
              says="the files are not what was signed")
    stranger = folder / "stranger.sig"
    life.call("olga", "sign", second, "--key", folder / "stranger.key", "--signature", stranger)
    life.call("eve", "add", SECOND, second, "--signature", stranger, code=4)


def adding(life):
    second = life.second
    life.expect({(MODEL,): "1", (FIRST,): "1", (ALIAS,): "1", (SECOND,): (3, "MODEL_NOT_FOUND"),
                 (f"{MODEL}#stable",): (3, "MODEL_NOT_FOUND"),
                 (f"{MODEL}@{life.digests['2']}",): (1, "VERSION_PIN_MISMATCH")}, "with one version")
    life.call("eve", "add", MODEL, second, code=2, says="is not MODEL:VERSION")
    life.call("eve", "add", SECOND, life.folder / "none.gguf", code=3)
    life.two_persons_call("ann", "add", SECOND, second, code=4, says="role")
    life.call("olga", "load", SECOND, second, code=1, says="is not registered")
    life.call("eve", "add", SECOND, second, "--signature", life.signature,
              says=f"{SECOND} is registered, {life.digests['2']}, signed by ")
    life.call("eve", "add", SECOND, life.first, code=1, says="names the same bytes for good")
    if ROOT:
        life.expect({(SECOND,): (1, "MODEL_NOT_APPROVED")}, "before it is approved")
        life.call("olga", "load", SECOND, second, code=1, says="is not approved: 0 of 2 persons did")
        life.call("eve", "approve", SECOND, code=4, says="persons who did not submit it")
        life.call("ann", "approve", SECOND, says=f"{SECOND} has the approval of uid:{PERSONS['ann'][0]}")
        life.call("ann", "approve", SECOND, code=4, says="each once")
        life.expect({(SECOND,): (1, "MODEL_NOT_APPROVED")}, "with one approval")
        life.call("bob", "approve", SECOND)
    life.call("bob", "approve", SECOND, code=1, says=f"{SECOND} is approved")
    life.call("ann", "approve", f"{MODEL}:9", code=3)
    life.expect({(SECOND,): (5, "MODEL_NOT_RESIDENT")}, "before it is loaded")


def loading(life):
    copy = life.folder / "changed" / life.second.name
    life.call("olga", "load", SECOND, life.first, code=1, says="was registered as")
    life.call("olga", "load", SECOND, copy, code=1, says="was registered as")
    life.two_persons_call("eve", "load", SECOND, life.second, code=4, says="role")
    life.call("olga", "load", SECOND, life.second, says=f"{SECOND} {life.digests['2']}\n")
    life.call("olga", "load", SECOND, life.second, code=1, says="there already")
    check_equal(life.state(), ({"1": ("approved", True), "2": ("approved", True)}, "1"), "both")
    life.expect({(MODEL,): "1", (SECOND,): "2", (f"{MODEL}@{life.digests['2']}",): "2"}, "beside")
    top = json.loads(life.persons["olga"]("top", "--once", "--interval", "0.1", "--json").stdout)
    memory = {(use["model"], use["version"]): use["weight_bytes"] for use in top["models"]}
    check_equal(sorted(memory), [(MODEL, "1"), (MODEL, "2")], "top tells them apart")
    check(memory[MODEL, "1"] > memory[MODEL, "2"] > 0, f"a version with fewer layers: {memory}")
    listed = json.loads(life.daemon.inferctl("model", "list", "-o", "json").stdout)["models"]
    check_equal([(model["name"], model["version"]) for model in listed],
                [(MODEL, "1"), (MODEL, "2")], "model list tells them apart")
    check_equal(life.daemon.inferctl("generate", "x", *SHORT).returncode, 0, "the only name there is")


def rolling_out(life):
    life.call("olga", "alias", f"{MODEL}#stable", "--approve", code=3)
    life.call("olga", "canary", f"{MODEL}#stable", 5, code=3)
    life.call("olga", "canary", ALIAS, 5, code=1, says="no version is on its way")
    life.call("olga", "alias", ALIAS, 9, code=3)
    life.two_persons_call("ann", "alias", ALIAS, 2, code=4, says="role")
    life.call("olga", "alias", ALIAS, 2, says=f"{SECOND} is proposed for {ALIAS}")
    life.two_persons_call("olga", "alias", ALIAS, "--approve", code=4, says="a second person")
    life.call("olga", "canary", ALIAS, 5, code=1, says="not approved")
    life.call("bob", "alias", ALIAS, "--approve", says=f"{SECOND} may have sessions of {ALIAS}")
    life.call("olga", "canary", ALIAS, 0, code=2)

    proposed = life.json_of("history", MODEL)["changes"][-2]
    rollout = f"{ALIAS}/{proposed['number']}"
    early, early_new = sessions_between(rollout, 0, 500, 2)
    middle, *middle_new = sessions_between(rollout, 500, 2500, 3)
    late, late_new, last_new = sessions_between(rollout, 2500, 10000, 3)
    life.expect({(MODEL, early): "1"}, "approved, with no sessions yet")
    life.call("olga", "canary", ALIAS, 5, says=f"{SECOND} has 5 % of the sessions of {ALIAS}")
    life.expect({(MODEL, early): "1", (MODEL, early_new): "2", (MODEL, middle): "1",
                 (MODEL, late): "1", (MODEL,): "1"}, "at 5 %")
    life.call("olga", "canary", ALIAS, 25)
    life.expect({(MODEL, early): "1", (MODEL, early_new): "2", (MODEL, middle): "1",
                 (MODEL, middle_new[0]): "2", (ALIAS, middle_new[1]): "2", (MODEL, late): "1",
                 (MODEL, late_new): "1", (MODEL,): "1"}, "at 25 %")
    life.call("olga", "canary", ALIAS, 100, says=f"{ALIAS} is {SECOND}")
    life.expect({(MODEL,): "2", (MODEL, last_new): "2", (MODEL, early): "1", (MODEL, early_new): "2",
                 (MODEL, middle): "1", (MODEL, late_new): "1", (FIRST,): "1"}, "at 100 %")
    life.call("olga", "rollback", ALIAS, says=f"{ALIAS} is {FIRST}")
    life.expect({(MODEL,): "1", (MODEL, early_new): "1", (MODEL, last_new): "1", (SECOND,): "2"},
                "rolled back")
    return late


def swapping(life, session):
    life.call("olga", "alias", ALIAS, 2)
    life.call("bob", "alias", ALIAS, "--approve")
    life.call("olga", "canary", MODEL, 100, says=f"{ALIAS} is {SECOND}")  # a name alone: its default
    life.expect({(MODEL,): "2", (MODEL, session): "1"}, "swapped")
    life.call("olga", "unload", MODEL, "--drain", 5, code=2, says="say which")
    life.call("olga", "unload", FIRST, "--drain", 5)
    life.call("olga", "unload", FIRST, code=3)
    life.expect({(MODEL,): "2", (MODEL, session): "2", (FIRST,): (5, "MODEL_NOT_RESIDENT")},
                "without the old one")
    check_equal(life.state(), ({"1": ("approved", False), "2": ("approved", True)}, "2"), "unloaded")


def restarting(life):
    """The alias names what came by `model load`, which the configuration does not list: the daemon
    says so, serves nothing else in its place, and says what to write."""
    daemon = life.daemon
    daemon.restart()
    if ROOT:
        let_other_uid_in(daemon)
    absent = {(MODEL,): (5, "MODEL_NOT_RESIDENT"), (FIRST,): "1"}
    life.expect(absent, "restarted without it")
    lines = [line for line in map(json.loads, daemon.log().splitlines())
             if line["message"].startswith("an alias names a version that does not answer")]
    check_equal([(line["level"], line["alias"], line["version"], line["digest"], line["why"])
                 for line in lines],
                [("error", ALIAS, "2", life.digests["2"], "it is not in memory")], "the log")
    check(f"{{name: {MODEL}, version: \"2\", path: PATH}} under models:" in lines[0]["do"],
          f"what to write: {lines[0]['do']}")
    check(f"{ALIAS} is 2, which is not in memory" in life.call("olga", "versions", MODEL),
          "the versions")
    health = json.loads(daemon.inferctl("status", "-o", "json").stdout)["services"]
    check_equal([service["state"] for service in health], ["serving", "not serving"], "the health")
    config = daemon.config_path.read_text(encoding="utf-8")
    entry = f", {{name: {MODEL}, version: \"2\", path: \"{life.second}\"}}]\n"
    daemon.config_path.write_text(config.replace("}]\nkv_cache", "}" + entry + "kv_cache"),
                                  encoding="utf-8")
    daemon.restart()
    if ROOT:
        let_other_uid_in(daemon)
    life.expect({(MODEL,): "2", (FIRST,): "1"}, "restarted with it")
    check_equal(daemon.log().count("does not answer"), 1, "lines of the log about it")


def revoking(life):
    life.call("olga", "rollback", ALIAS, says=f"{ALIAS} is {FIRST}")
    life.call("ann", "revoke", SECOND, says=f"{SECOND} is revoked")
    life.call("ann", "revoke", SECOND, code=1, says="was revoked before")
    life.expect({(SECOND,): (4, "MODEL_REVOKED"), (MODEL,): "1",
                 (f"{MODEL}@{life.digests['2']}",): (4, "MODEL_REVOKED")}, "revoked")
    life.call("olga", "load", SECOND, life.second, code=4, says="was revoked")
    life.call("eve", "add", f"{MODEL}:3", life.second, code=4, says="these bytes were revoked")
    life.call("eve", "add", "other:1", life.second, code=4, says="these bytes were revoked")
    life.call("olga", "alias", ALIAS, 2, code=4, says="was revoked")
    check_equal(life.state(), ({"1": ("approved", True), "2": ("revoked", False)}, "1"), "the end")


def looking(life):
    """What the steps left behind: the history and the leaves say the same."""
    steps = ["registered", "registered", *["approved"] * (2 * ROOT), "rollout_proposed",
             "rollout_approved", "canary", "canary", "alias_moved", "rolled_back",
             "rollout_proposed", "rollout_approved", "alias_moved", "rolled_back", "revoked"]
    changes = life.json_of("history", MODEL)["changes"]
    check_equal([change["step"] for change in changes], steps, "the history")
    if ROOT:
        uid = {name: f"uid:{number}" for name, (number, _) in PERSONS.items()}
        check_equal([change["actor"] for change in changes[:6]],
                    ["configuration", uid["eve"], uid["ann"], uid["bob"], uid["olga"], uid["bob"]],
                    "who did it")
    check_equal(life.json_of("history", "nobody").get("changes", []), [], "of a name without any")
    check(f"{SECOND} has 25 % of the sessions of {ALIAS}\n" in life.call("olga", "history", MODEL),
          "the history for people")
    found = json.loads(life.persons["olga"]("audit", "search", "--type", "model.", "--limit", "200",
                                            "-o", "json").stdout)["leaves"]
    types = [leaf["type"].removeprefix("model.") for leaf in reversed(found)]
    check_equal([name for name in types if name not in ("loaded", "unloaded", "refused")], steps,
                "the leaves")
    refused = 1 + 2 * ROOT  # not registered; not approved, and other files
    check(types.count("refused") >= refused + 2, f"refused loads: {types}")


def bill(life):
    bom = json.loads(life.call("olga", "bom", SECOND, life.second))
    check_equal((bom["bomFormat"], bom["specVersion"]), ("CycloneDX", "1.6"), "the bill's format")
    check_equal([(part["name"], part["hashes"][0]["content"]) for part in bom["components"]],
                [(life.second.name, hashlib.sha256(life.second.read_bytes()).hexdigest())],
                "the bill's files")
    life.call("olga", "bom", SECOND, life.first, code=6, says="not what was registered")
    life.call("olga", "bom", f"{MODEL}:9", life.second, code=3, says="is not registered")


def run(daemon, random_model):
    if ROOT:
        let_other_uid_in(daemon)
    life = Life(daemon, random_model)
    signing(life)
    adding(life)
    bill(life)
    loading(life)
    session = rolling_out(life)
    swapping(life, session)
    restarting(life)
    revoking(life)
    looking(life)


if __name__ == "__main__":
    if os.environ.get("INFERD_TEST_AUDIT") == "off":
        harness.skip("the admin plane's socket is where the audit log is")
    harness.need("openssl")
    harness.Daemon.prepare = staticmethod(prepare)
    program = harness.parse_args().random_model
    sys.exit(harness.main(lambda daemon, _: run(daemon, program)))

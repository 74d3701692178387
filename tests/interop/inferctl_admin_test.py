#!/usr/bin/env python3
"""inferctl tenant, key, usage, quota and policy against the real daemon, each with what it refuses. What
takes two persons is in inferctl_persons_test.py."""

import json
import os
import signal
import sys
import time

import harness
from audit_cli_test import admin_of
from harness import check, check_equal

GREEDY = ("--temperature", "0", "--max-tokens", "6", "--ignore-eos")
POLICY = harness.ROOT / "deploy" / "policy"


def write_tenant(folder, name, more):
    path = folder / "tenants.d" / f"{name}.yaml"
    path.write_text(f"schema_version: 1\nname: {name}\norganisation: example\n{more}",
                    encoding="utf-8")
    path.chmod(0o600)


def day_limit(limit):
    return f"quotas:\n  - {{id: local/day, metric: tok_day, limit: {limit}}}\n"


def prepare(folder):
    (folder / "tenants.d").mkdir(mode=0o700)
    write_tenant(folder, "local", day_limit(1000000))
    write_tenant(folder, "search",
                 "principals:\n  - {name: \"spiffe://example.org/search/*\", project: web}\n")
    for name in ("inferd.cedarschema", "policies.cedar"):
        copy = folder / name
        copy.write_bytes((POLICY / name).read_bytes())
        copy.chmod(0o600)
    return (f"identity: {{tenants_directory: \"{folder}/tenants.d\"}}\n"
            f"policy: {{schema: \"{folder}/inferd.cedarschema\", "
            f"policies: \"{folder}/policies.cedar\"}}\n")


def limit_in_force(admin):
    shown = json.loads(admin("quota", "show", "--org", "example", "--json").stdout)["limits"]
    return {state["id"]: state["limit"] for state in shown}.get("local/day")


def tenants(daemon, admin):
    folder = daemon.state.parent
    listed = json.loads(admin("tenant", "list", "-o", "json").stdout)["tenants"]
    check_equal([tenant["name"] for tenant in listed], ["local", "search"], "tenants")
    check("spiffe://example.org/search/*" in admin("tenant", "show", "search").stdout,
          "the tenant's callers")
    admin("tenant", "show", "nobody", code=3)
    check_equal(limit_in_force(admin), 1000000, "the file's quota")
    write_tenant(folder, "local", day_limit(2000000))
    check("~ quota local/day: 1000000 -> 2000000 tok_day" in admin("tenant", "reload").stdout,
          "what a reload says")
    check_equal(limit_in_force(admin), 2000000, "the quota after a reload")
    write_tenant(folder, "local", "wieght: 2\n")
    refused = admin("tenant", "reload", code=2).stderr
    check("local.yaml:4:1: error: wieght: unknown key" in refused, f"a bad file: {refused}")
    check_equal(limit_in_force(admin), 2000000, "the quota after a reload that was refused")
    write_tenant(folder, "local", day_limit(3000000))
    daemon.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 60
    while limit_in_force(admin) != 3000000:
        check(time.monotonic() < deadline, "SIGHUP did not take the new quota")
        time.sleep(0.05)


def keys(daemon, admin):
    file = daemon.state.parent / "search.key"

    def use(secret):
        file.write_text(secret, encoding="utf-8")
        file.chmod(0o600)
        return daemon.inferctl("generate", "The sea", *GREEDY, "--api-key-file", str(file)).returncode

    def listed():
        found = json.loads(admin("key", "list", "--tenant", "search", "-o", "json").stdout)
        return {key["id"]: key for key in found.get("keys", [])}

    secret = admin("key", "issue", "search", "--project", "web", "--days", "1").stdout
    (key_id,) = listed()
    check_equal(listed()[key_id].get("last_used"), None, "the last use of a new key")
    check_equal(use(secret), 0, "a new key")
    check(listed()[key_id].get("last_used"), "the last use of a key that was used")
    check_equal(use(secret.strip()[:-1]), 4, "a key that was cut")
    successor = admin("key", "rotate", key_id, "--overlap", "0").stdout
    check_equal((use(secret), use(successor)), (4, 0), "a rotated key and its successor")
    (new_id,) = set(listed()) - {key_id}
    admin("key", "revoke", new_id)
    check_equal(use(successor), 4, "a revoked key")
    check("revoked" in admin("key", "list").stdout, "the list says so")
    admin("key", "issue", "nobody", code=3)
    admin("key", "issue", "search", "--scope", "everything", code=2)
    admin("key", "revoke", "000000000000", code=3)


def usage(admin):
    rows = json.loads(admin("usage", "--org", "example", "--json").stdout)["rows"]
    of_search = [row for row in rows if row["account"].get("tenant") == "search"]
    check_equal(sum(row["requests"] for row in of_search), 2, "requests of the keys")
    check_equal(sum(row["output_tokens"] for row in of_search), 12, "their tokens")
    check_equal({row["account"]["project"] for row in of_search}, {"web"}, "their project")
    lines = admin("usage", "--csv").stdout.splitlines()
    check_equal(lines[0], "day,org,tenant,project,key,model,requests,open,input_tokens,output_tokens",
                "the first line of CSV")
    check_equal(len(lines), len(rows) + 1, "its lines")
    admin("usage", "--from", "yesterday", code=2)


def quotas(daemon, admin):
    account = ("--org", "example", "--tenant", "local")
    explain = ("quota", "explain", *account, "--output-tokens")
    check(json.loads(admin(*explain, "10", "--json").stdout)["passes"], "what passes")
    refused = json.loads(admin(*explain, "5000000", "--json").stdout)
    check_equal([(refusal["limit"]["id"], refusal["never"]) for refusal in refused["refusals"]],
                [("local/day", True)], "what never passes")
    admin("quota", "set", "closed", *account, "--metric", "rpm", "--limit", "0")
    done = daemon.inferctl("generate", "x", *GREEDY)
    check_equal(done.returncode, 5, "a closed quota")
    check("closed" in done.stderr, f"which quota: {done.stderr}")
    admin("quota", "remove", "closed")
    admin("quota", "remove", "closed", code=3)
    check_equal(daemon.inferctl("generate", "x", *GREEDY).returncode, 0, "after its removal")
    later = json.loads(admin(*explain, "3000000", "--json").stdout)
    check_equal([(refusal["limit"]["id"], refusal["never"]) for refusal in later["refusals"]],
                [("local/day", False)], "what passes when the day is over")
    check(0 < later["passes_in_s"] <= 86400, f"when it passes: {later}")
    check("; passes in " in admin(*explain, "3000000").stdout, "the same for people")
    admin("quota", "set", "a", "--org", "example", "--metric", "furlongs", "--limit", "1", code=2)

    proposed = daemon.state.parent / "proposed.yaml"
    proposed.write_text("quotas:\n  - {id: tight, org: example, tenant: search, metric: tok_day, "
                        "limit: 1}\n", encoding="utf-8")
    tried = json.loads(admin("quota", "simulate", str(proposed), "--json").stdout)
    check_equal((tried["requests"], tried["refused"], tried["skipped"]), (3, 2, 0), "what it tries")
    check_equal([(breach["limit"], breach["tenant"], breach["refused"])
                 for breach in tried["breaches"]], [("tight", "search", 2)], "what it refuses")
    check("3 requests, 2 would have been refused" in admin("quota", "simulate", str(proposed)).stdout,
          "the same for people")
    proposed.write_text("quotas:\n  - {id: tight, org: example, metric: conc, limit: 1, burst: 2}\n",
                        encoding="utf-8")
    wrong = admin("quota", "simulate", str(proposed), code=2).stderr
    check("proposed.yaml:2:5: error: quotas[0]" in wrong, f"limits that are none: {wrong}")
    admin("quota", "simulate", str(daemon.state.parent / "none.yaml"), code=3)


def propose(daemon, admin):
    """Proposes a set that denies long answers; its digest."""
    new = daemon.state.parent / "new.cedar"
    new.write_text((POLICY / "policies.cedar").read_text(encoding="utf-8") + """
@id("nothing-long")
forbid(principal, action == Inferd::Action::"generate", resource) when { context.max_tokens > 5 };
""", encoding="utf-8")
    return admin("policy", "propose", str(new)).stdout.strip()


def policies(daemon, admin):
    first = json.loads(admin("policy", "show", "-o", "json").stdout)
    check_equal([step["step"] for step in first["history"]], ["activated"], "the first set")
    check("tenant-user-uses-models" in admin("policy", "show", first["active"]).stdout, "its rules")
    proposed = propose(daemon, admin)
    admin("policy", "approve", proposed, code=4)  # by who proposed it
    admin("policy", "activate", proposed, code=1)  # nobody approved it
    admin("policy", "approve", "0" * 64, code=3)
    wrong = daemon.state.parent / "wrong.cedar"
    wrong.write_text("permit(principal, action, nowhere);\n", encoding="utf-8")
    admin("policy", "propose", str(wrong), code=2)


def run(daemon, _):
    admin = admin_of(daemon)
    tenants(daemon, admin)
    keys(daemon, admin)
    usage(admin)
    quotas(daemon, admin)
    policies(daemon, admin)


if __name__ == "__main__":
    if os.environ.get("INFERD_TEST_AUDIT") == "off":
        harness.skip("policies and usage need the audit log")
    harness.Daemon.prepare = staticmethod(prepare)
    sys.exit(harness.main(run))

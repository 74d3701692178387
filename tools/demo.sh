#!/usr/bin/env bash
# Gets the demo model, writes a development config, starts inferd, streams answers, stops it.
# usage: tools/demo.sh            a few answers, then a clean stop
#        tools/demo.sh --serve    serve until interrupted
set -euo pipefail
cd "$(dirname "$0")/.."
folder=build/demo
mkdir -p "$folder"
model=$(tools/get_model.py smollm2) || {
  echo "demo: the demo model is not in the cache and cannot be fetched" >&2
  exit 1
}
address=127.0.0.1:0
[ "${1:-}" = --serve ] && address=127.0.0.1:8750
cat >"$folder/inferd.yaml" <<YAML
# Written by tools/demo.sh. All keys: inferd --print-schema
schema_version: 1
listeners:
  data:
    address: $address
models:
  - name: smollm2
    path: $model
egress:
  message_tokens_max: 1 # every token is a message of its own
drain:
  delay: 0
  timeout: 10s
state_directory: $folder/state # audit log, payloads, keys, index
policy: # who may do what: docs/policy.md
  schema: $folder/inferd.cedarschema
  policies: $folder/policies.cedar
quotas: # how much: docs/quota.md
  - {id: demo/day, org: local, metric: tok_day, limit: 1000000}
  - {id: demo/conc, org: local, metric: conc, limit: 32}
identity:
  tenants_directory: $folder/tenants.d # the tenant of callers of this host: local
YAML
# The first set comes from files that nobody but their owner may write.
install -m 0644 deploy/policy/inferd.cedarschema deploy/policy/policies.cedar "$folder/"
# The daemon takes tenant files that root or its own user alone can write.
install -d -m 0755 "$folder/tenants.d"
install -m 0644 deploy/tenants.d/local.yaml "$folder/tenants.d/local.yaml"
[ -e "$folder/state/keys/note.key" ] ||
  build/release/client/inferctl keys init --directory "$folder/state/keys" >/dev/null

if [ "${1:-}" = --serve ]; then
  echo "demo: serving smollm2 on $address; try: build/release/client/inferctl chat \"Hello!\""
  exec build/release/daemon/inferd --config "$folder/inferd.yaml"
fi

: >"$folder/inferd.out" # the daemon announces its address there
echo "demo: starting inferd (config $folder/inferd.yaml, log $folder/inferd.log)"
build/release/daemon/inferd --config "$folder/inferd.yaml" >"$folder/inferd.out" 2>"$folder/inferd.log" &
daemon=$!
trap 'kill "$daemon" 2>/dev/null || true' EXIT
endpoint=
for ((i = 0; i < 300; ++i)); do
  endpoint=$(sed -n 's/^listening //p' "$folder/inferd.out")
  [ -z "$endpoint" ] || break
  kill -0 "$daemon" 2>/dev/null || { tail -n 5 "$folder/inferd.log" >&2; echo "demo: inferd did not start" >&2; exit 1; }
  sleep 0.1
done
[ -n "$endpoint" ] || { echo "demo: inferd is not listening after 30 s; see $folder/inferd.log" >&2; exit 1; }

ctl() { build/release/client/inferctl --endpoint "$endpoint" "$@"; }
ctl model list
for question in "Write one sentence about the sea." "Explain what a database index is in two sentences."; do
  printf '\n> %s\n' "$question"
  ctl chat --temperature 0 --max-tokens 96 --stats "$question"
done

printf '\n> what was used, and what is left\n'
ctl usage --admin "unix:$folder/state/admin.sock"
ctl quota show --org local --admin "unix:$folder/state/admin.sock"

echo
echo "demo: stopping inferd"
kill -TERM "$daemon"
wait "$daemon" || { echo "demo: inferd ended with an error; see $folder/inferd.log" >&2; exit 1; }
trap - EXIT
echo "demo: stopped cleanly. Serve it yourself with: make run"

#!/usr/bin/env bash
# Installs what the build needs: the Debian packages of tools/debian-packages.txt, and a Rust that
# the crates accept where the machine has none. Does nothing where all is there.
set -euo pipefail
cd "$(dirname "$0")/.."

rust_min=1.89  # what the crates of `rust/` ask for

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    echo "setup: '$*' needs root; run it as root, or install sudo" >&2
    exit 1
  fi
}

install() {
  echo "setup: installing $*"
  log=$(mktemp)
  export DEBIAN_FRONTEND=noninteractive
  { as_root apt-get update -qq && as_root apt-get install -y -qq --no-install-recommends "$@"; } >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    echo "setup: apt-get failed; the lines above say why (whole log: $log)" >&2
    exit 1
  }
  rm -f "$log"
}

# True if there is a cargo whose rustc is at least rust_min.
rust_is_recent() {
  command -v cargo >/dev/null && command -v rustc >/dev/null &&
    [ "$(printf '%s\n%s\n' "$rust_min" "$(rustc --version | cut -d' ' -f2)" | sort -V | head -n1)" = "$rust_min" ]
}

missing=()
while read -r package; do
  case "$package" in '' | '#'*) continue ;; esac
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done <tools/debian-packages.txt
if [ ${#missing[@]} -gt 0 ]; then
  install "${missing[@]}"
fi

if ! rust_is_recent; then
  install cargo-web rustc-web
  rust_is_recent || {
    echo "setup: rustc $rust_min or later is needed, this machine has: $(rustc --version)" >&2
    exit 1
  }
fi

#!/usr/bin/env bash
# usage: tools/build.sh PRESET [TARGET ...]: configures a preset once and builds it.
set -euo pipefail
cd "$(dirname "$0")/.."
preset=$1
shift
if [ ! -f "build/$preset/build.ninja" ]; then
  echo "build: configuring $preset"
  mkdir -p build
  cmake --preset "$preset" >"build/configure-$preset.log" 2>&1 || {
    tail -n 30 "build/configure-$preset.log" >&2
    echo "build: configuring failed (build/configure-$preset.log); run tools/setup.sh, then again" >&2
    exit 1
  }
fi
echo "build: $preset${1:+ ($*)}"
cmake --build --preset "$preset" ${1:+--target "$@"}

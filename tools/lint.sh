#!/usr/bin/env bash
# clang-19 with -Wthread-safety builds everything, then clang-tidy-19 reads every source of ours that
# ships (test macros would only trip the size checks).
# usage: tools/lint.sh [FILE ...]: clang-tidy on these sources alone.
set -euo pipefail
cd "$(dirname "$0")/.."
tools/build.sh clang
if [ $# -gt 0 ]; then
  files=("$@")
else
  mapfile -t files < <(git ls-files '*.cc' | grep -v -e third_party -e '_test\.cc$' -e '^tests/')
fi
echo "lint: clang-tidy on ${#files[@]} files"
printf '%s\n' "${files[@]}" | xargs -P "$(nproc)" -n 4 clang-tidy-19 -p build/clang --quiet

#!/usr/bin/env bash
# clang-19 with -Wthread-safety builds everything, then clang-tidy-19 reads every source of ours.
# usage: tools/lint.sh [FILE ...]: clang-tidy on these sources alone.
set -euo pipefail
cd "$(dirname "$0")/.."
tools/build.sh clang
if [ $# -gt 0 ]; then
  files=("$@")
else
  mapfile -t files < <(git ls-files '*.cc' | grep -v third_party)
fi
echo "lint: clang-tidy on ${#files[@]} files"
printf '%s\n' "${files[@]}" | xargs -P "$(nproc)" -n 4 clang-tidy-19 -p build/clang --quiet

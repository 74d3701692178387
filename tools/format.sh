#!/usr/bin/env bash
# usage: tools/format.sh [--check]: clang-format over every source; --check only says what differs.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v clang-format-19 >/dev/null || { echo "format: no clang-format-19; run make setup" >&2; exit 1; }
mapfile -t files < <(git ls-files '*.h' '*.cc' '*.cu' '*.cuh' | grep -v third_party)
if [ "${1:-}" = --check ]; then
  clang-format-19 --dry-run -Werror "${files[@]}" || { echo "format: run make fix" >&2; exit 1; }
else
  clang-format-19 -i "${files[@]}"
fi

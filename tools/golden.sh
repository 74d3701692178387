#!/usr/bin/env bash
# Compares with the committed goldens; every figure is kept in build/results/golden.json.
set -euo pipefail
cd "$(dirname "$0")/.."
smollm2=$(tools/get_model.py smollm2)
gemma3=$(tools/get_model.py gemma3)
tools/results.py run golden -- bash -c "
  set -e
  build/release/tests/golden/inferd_golden --model '$smollm2' --name smollm2
  build/release/tests/golden/inferd_golden --model '$gemma3' --name gemma3
  build/release/tests/golden/families_golden_test
  build/release/tests/golden/tokenizer_vectors_test"

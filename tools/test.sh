#!/usr/bin/env bash
# Builds and runs every test, each in the build that it is worth its time in: the dev preset (ASan,
# UBSan); the optimised one for whole models, the mutation gate and other people's programs;
# ThreadSanitizer for what has threads. Ends with one summary.
# usage: tools/test.sh [dev|release|tsan ...]   (default: all three)
set -euo pipefail
cd "$(dirname "$0")/.."
presets=("$@")
[ ${#presets[@]} -gt 0 ] || presets=(dev release tsan)
jobs=$(nproc)
mkdir -p build/test

for model in smollm2 gemma3; do
  tools/get_model.py "$model" >/dev/null || echo "test: $model is not here; its tests will skip"
done

tools/cuda_toolkit.sh >/dev/null || echo "test: no CUDA toolkit; the kernels' compile gate will skip"

# Runs ctest for one preset; keeps the JUnit report; a failure is counted, not fatal.
failed_presets=0
run() {
  preset=$1
  shift
  echo "test: running $preset"
  ctest --test-dir "build/$preset" --output-on-failure -j "$jobs" \
    --output-junit "$PWD/build/test/$preset.xml" "$@" || failed_presets=$((failed_presets + 1))
}

for preset in "${presets[@]}"; do
  case $preset in
    dev)
      tools/build.sh dev
      run dev -LE '^model|interop|invariance'
      ;;
    release)
      tools/build.sh release release_tests
      run release -L '^model|interop|golden|invariance|mutation|cuda_gate'
      ;;
    tsan)
      tools/build.sh tsan tsan_tests
      run tsan -L 'scheduler|engine|governance|daemon|integration' -LE interop
      ;;
    *)
      echo "test: unknown preset $preset; dev, release or tsan" >&2
      exit 2
      ;;
  esac
done

tools/summary.py "${presets[@]}"
exit $((failed_presets > 0))

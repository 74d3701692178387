#!/usr/bin/env bash
# Says where the CUDA toolkit is that compiles the kernels: of the machine if it has version 13, else
# the wheels of NVIDIA's compiler (100 MB) in the cache. Prints its folder.
# usage: tools/cuda_toolkit.sh [--find]: --find looks and fetches nothing; exit 1 if there is none.
# INFERD_WITH_CUBLASLT=1 fetches cuBLASLt too (another 420 MB), which cuda/prefill_cublas.cu needs.
set -euo pipefail
cache=${INFERD_CACHE_DIR:-$HOME/.cache/inferd}/cuda-13.0
# What compiling needs.
wheels=(nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88
  nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85)
want_cublas=${INFERD_WITH_CUBLASLT:-0}
[ "$want_cublas" = 0 ] || wheels+=(nvidia-cublas==13.1.0.3)

is_version_13() { [ -x "$1/bin/nvcc" ] && "$1/bin/nvcc" --version 2>/dev/null | grep -q 'release 13\.'; }

on_path=$(command -v nvcc || true)
for folder in "${CUDA_HOME:-}" "${on_path%/bin/nvcc}" /usr/local/cuda "$cache/nvidia/cu13"; do
  if [ -n "$folder" ] && is_version_13 "$folder" &&
    { [ "$want_cublas" = 0 ] || [ -f "$folder/include/cublasLt.h" ]; }; then
    echo "$folder"
    exit 0
  fi
done
if [ "${1:-}" = --find ]; then
  echo "cuda-toolkit: no CUDA 13 on this machine; make cuda-toolkit fetches one" >&2
  exit 1
fi

echo "cuda-toolkit: fetching NVIDIA's compiler into $cache" >&2
rm -rf "$cache.part"
python3 -m pip install --quiet --disable-pip-version-check --no-deps --target "$cache.part" "${wheels[@]}" >&2 || {
  rm -rf "$cache.part"
  echo "cuda-toolkit: pip could not get ${wheels[0]} and its companions; is there a network?" >&2
  exit 1
}
root=$cache.part/nvidia/cu13
# The wheels lack what an installed toolkit has: the folder's other name, and names without a version.
ln -sfn lib "$root/lib64"
for library in "$root"/lib/lib*.so.*; do
  ln -sf "$(basename "$library")" "${library%%.so.*}.so"
done
rm -rf "$cache"
mv "$cache.part" "$cache"
is_version_13 "$cache/nvidia/cu13" || {
  echo "cuda-toolkit: what came does not run: $cache/nvidia/cu13/bin/nvcc" >&2
  exit 1
}
echo "$cache/nvidia/cu13"

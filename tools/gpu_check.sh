#!/usr/bin/env bash
# Asks the card of this machine whether it does what the numeric contract says (docs/design/0008):
# builds inferd_gpu_check with nvcc alone, without CMake, gRPC or a network, and runs it.
# usage: tools/gpu_check.sh [--build-only ARCH] [--sanitize] [--bench]
#   --build-only sm_90   compiles and links for that architecture and runs nothing: needs no card
#   --bench              then measures the kernels (inferd_gpu_bench), if every bit was right
#   --sanitize           runs it once more under compute-sanitizer (memcheck, racecheck, synccheck)
set -euo pipefail
cd "$(dirname "$0")/.."
arch=native
run=1
sanitize=0
bench=0
while [ $# -gt 0 ]; do
  case $1 in
    --build-only) arch=$2; run=0; shift ;;
    --sanitize) sanitize=1 ;;
    --bench) bench=1 ;;
    *) echo "gpu_check: unknown argument $1" >&2; exit 2 ;;
  esac
  shift
done
toolkit=$(tools/cuda_toolkit.sh --find)
out=build/gpu-check
mkdir -p "$out"
# cuBLASLt: the toolkit's, else PyTorch's own (wheels have no unversioned name to link).
cublas_compile=()
cublas_link=()
for root in "$toolkit" "$(python3 -c 'import nvidia, os; print(os.path.join(list(nvidia.__path__)[0], "cu13"))' 2>/dev/null || true)"; do
  library=$(find "$root/lib64/" "$root/lib/" -maxdepth 1 -name 'libcublasLt.so*' 2>/dev/null | sort | tail -n 1 || true)
  if [ -n "$library" ] && [ -f "$root/include/cublasLt.h" ]; then
    cublas_compile=(-DINFERD_WITH_CUBLASLT -I "$root/include")
    cublas_link=(-Xlinker "$library" -Xlinker "-rpath=$(dirname "$library")")
    break
  fi
done
[ ${#cublas_link[@]} -gt 0 ] || echo "gpu_check: no cuBLASLt here; prompts by qgemm_p alone, and no bf16 peer"
# The host's own code is optimised and never contracted; all .cu files for the card's architecture.
# Sources are compiled at the same time, once, and linked several times.
flags=(-std=c++20 -O3 --expt-relaxed-constexpr -arch="$arch" -Xcompiler -ffp-contract=off,-fPIC -I .)
pids=()
compile() {  # OBJECT SOURCE [FLAGS]
  "$toolkit/bin/nvcc" "${flags[@]}" -c -o "$out/$1.o" "$2" "${@:3}" &
  pids+=($!)
}
link() {  # PROGRAM OBJECTS... -- FLAGS
  local program=$1 objects=()
  shift
  while [ "$1" != -- ]; do objects+=("$out/$1.o"); shift; done
  "$toolkit/bin/nvcc" "${flags[@]}" -o "$out/$program" "${objects[@]}" "${@:2}"
  echo "gpu_check: built $out/$program"
}
kernels=(qgemm_d qgemm_p)
compile qgemm_d cuda/qgemm_d.cu
compile qgemm_p cuda/qgemm_p.cu
compile gpu_check_main tests/cuda/gpu_check_main.cu "${cublas_compile[@]}"
for source in cuda/mma_emulator cuda/qgemm_emulated cuda/qgemm_emulated_p base/check; do
  compile "$(basename "$source")" "$source.cc"
done
prefill=()
if [ ${#cublas_link[@]} -gt 0 ]; then
  prefill=(prefill_cublas)
  compile prefill_cublas cuda/prefill_cublas.cu "${cublas_compile[@]}"
fi
if [ $bench = 1 ]; then
  compile bench tests/cuda/gpu_bench_main.cu "${cublas_compile[@]}"
  compile bench_library tests/cuda/gpu_bench_main.cu -DINFERD_GPU_BENCH_LIBRARY
fi
for pid in "${pids[@]}"; do
  wait "$pid"
done
link inferd_gpu_check gpu_check_main "${kernels[@]}" mma_emulator qgemm_emulated qgemm_emulated_p check "${prefill[@]}" -- "${cublas_link[@]}"
if [ $bench = 1 ]; then
  link inferd_gpu_bench bench "${kernels[@]}" "${prefill[@]}" -- "${cublas_link[@]}"
  link libinferd_gpu_bench.so bench_library "${kernels[@]}" -- -shared
fi
[ $run = 1 ] || exit 0
"$out/inferd_gpu_check"
if [ $bench = 1 ]; then
  "$out/inferd_gpu_bench"
  python3 tools/gpu_bench_peers.py "$PWD/$out/libinferd_gpu_bench.so"
fi
if [ $sanitize = 1 ]; then
  errors=0
  for tool in memcheck racecheck synccheck; do
    compute-sanitizer --tool "$tool" --error-exitcode 9 "$out/inferd_gpu_check" --small >"$out/$tool.log" 2>&1 || errors=$((errors + 1))
  done
  echo "RESULT gpu.sanitizer.errors $errors count"
fi

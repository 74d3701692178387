#!/usr/bin/env python3
"""Times other people's int4 kernels against qgemm_d on this card, by turns in one process.

usage: gpu_bench_peers.py LIBRARY: what tools/gpu_check.sh --bench built. Needs PyTorch with CUDA for
torch._weight_int4pack_mm; the `marlin` package for Marlin. What is not there is said and left out.

Llama-3-8B's four matrices, int4 in groups of 128, 1 to 64 tokens. Weights are cold: copies that
together exceed the second-level cache several times are used in turn. A round is all copies once; ours
and theirs alternate; the figure is the worst ratio of medians (above 1: qgemm_d is the faster).
"""
import ctypes
import statistics
import sys

MATRICES = {"qkv": (6144, 4096), "o": (4096, 4096), "gateup": (28672, 4096), "down": (4096, 14336)}
TOKENS = [1, 2, 4, 8, 16, 32, 64]
COLD_BYTES = 512 << 20
ROUNDS = 15
GROUP = 128


def copies_of(n, k):
    return COLD_BYTES // (n * k // 2) + 1


def torch_int4(torch, n, k, m):
    """A function that runs copy i of torch._weight_int4pack_mm."""
    packed = []
    for _ in range(copies_of(n, k)):
        codes = torch.randint(0, 256, (n, k // 2), dtype=torch.uint8, device="cuda")
        packed.append(torch.ops.aten._convert_weight_to_int4pack(codes, 8))
    scales = torch.rand(k // GROUP, n, 2, dtype=torch.bfloat16, device="cuda")
    x = torch.randn(m, k, dtype=torch.bfloat16, device="cuda")
    return lambda i: torch.ops.aten._weight_int4pack_mm(x, packed[i], GROUP, scales)


def marlin_int4(torch, n, k, m):
    """The same of Marlin (IST-DASLab's package)."""
    import marlin  # pylint: disable=import-error,import-outside-toplevel
    weights = [torch.randint(-2**31, 2**31 - 1, (k // 16, n * 2), dtype=torch.int32, device="cuda")
               for _ in range(copies_of(n, k))]
    scales = torch.rand(k // GROUP, n, dtype=torch.half, device="cuda")
    workspace = torch.zeros(n // 128 * 16, dtype=torch.int32, device="cuda")
    x = torch.randn(m, k, dtype=torch.half, device="cuda")
    y = torch.empty(m, n, dtype=torch.half, device="cuda")
    return lambda i: marlin.mul(x, weights[i], y, scales, workspace)


def round_seconds(torch, launch, copies):
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for i in range(copies):
        launch(i)
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1e3 / copies


def compare(torch, ours, peer, n, k, m):
    """Their median seconds over ours."""
    launch = peer(torch, n, k, m)
    ours(n, k, m, 1)
    round_seconds(torch, launch, copies_of(n, k))
    pairs = [(ours(n, k, m, 0), round_seconds(torch, launch, copies_of(n, k)))
             for _ in range(ROUNDS)]
    return statistics.median(p[1] for p in pairs) / statistics.median(p[0] for p in pairs)


def main():
    try:
        import torch  # pylint: disable=import-outside-toplevel
    except ImportError:
        print("gpu_bench_peers: no PyTorch here; its int4 kernel and Marlin are left out")
        return
    if not torch.cuda.is_available():
        sys.exit("gpu_bench_peers: PyTorch sees no CUDA card")
    library = ctypes.CDLL(sys.argv[1])
    ours = library.inferd_bench_round
    ours.restype = ctypes.c_double
    ours.argtypes = [ctypes.c_int64] * 3 + [ctypes.c_int]
    print(f"WORKLOAD {torch.cuda.get_device_name()}, PyTorch {torch.__version__}, cold weights")
    for key, peer in (("torch_int4", torch_int4), ("marlin", marlin_int4)):
        worst = None
        try:
            for name, (n, k) in MATRICES.items():
                for m in TOKENS:
                    ratio = compare(torch, ours, peer, n, k, m)
                    worst = ratio if worst is None else min(worst, ratio)
                    print(f"{key} {name:6} m {m:2}: qgemm_d is {ratio:.2f} times as fast")
                    torch.cuda.empty_cache()
        except (ImportError, RuntimeError, AttributeError) as error:
            print(f"gpu_bench_peers: {key} left out: {str(error).splitlines()[0]}")
            continue
        print(f"RESULT gpu.qgemm.vs_{key} {worst:.3f} x")


if __name__ == "__main__":
    main()

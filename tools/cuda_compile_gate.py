#!/usr/bin/env python3
"""Compiles every kernel for every architecture and reads its cost out of the cubin.

usage: cuda_compile_gate.py [--arch sm_90a ...] [--report FILE] [--out FOLDER] [--jobs N]

Fails on a spill, local memory, too many registers or too much shared memory, a tensor-core
instruction too many or too few in a main loop, and a main loop over its budget of instructions.
Prints one line a kernel with --report. What an architecture's kernels cost is kept in
build/cuda-gate under a hash of the sources, the flags and the toolkit: what has not changed is not
compiled again, and RESULT cuda.gate_cpu_s says what compiling it took when it was. Exit status 77
without a toolkit.
"""
import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import resource
import subprocess
import sys

import cubin

ROOT = pathlib.Path(__file__).resolve().parent.parent
ARCHITECTURES = ["sm_80", "sm_86", "sm_89", "sm_90a", "sm_120"]
SOURCES = ["qgemm_d.cu", "qgemm_p.cu"]
FLAGS = ["-std=c++20", "-O3", "--expt-relaxed-constexpr", "-cubin", "-Xptxas", "-v"]
SKIPPED = 77
STATIC_SHARED_BYTES_MAX = 48 * 1024
# A CTA has 256 threads, a multiprocessor 65,536 registers: at most 255 a thread for one CTA, 128
# for two. Few tokens are bound by memory: they need the second.
REGISTERS_MAX = {"d1": 128, "d2": 128, "d4": 255, "d8": 255, "p": 255}
# Bytes that a kernel may spill, by architecture and shape; 0 where nothing stands. For sm_120 the
# compiler keeps fewer registers for prefill's int4 with groups of 128 (255 of 255 in use): 3 loads
# from local memory in a main loop of 583 instructions, 128 of them on the tensor core.
SPILL_MAX = {("sm_120", "p"): 32}
LOCAL_MAX = {("sm_120", "p"): 6}  # instructions on local memory that this makes
# Instructions of the main loop for each 256 weights (a tensor-core instruction's worth of a row
# tile), by the tokens of a warp; what they were when they were last tuned, and a tenth.
LOOP_MAX = {"d1": 46, "d2": 58, "d4": 82, "d8": 130, "p": 130}
# The kernels' template arguments: the format as a number (CodeOf of cuda/qgemm_device.cuh), then of
# decode kernels token tiles, row tiles and slices of a CTA.
NAME = re.compile(r"Qgemm([DP])KernelILj(\d+)E(?:Li(\d+)ELi(\d+)ELi(\d+)E)?")


def describe(mangled):
    match = NAME.search(mangled)
    if not match:
        raise ValueError(f"a kernel that this gate does not know: {mangled}")
    code = int(match[2])
    facts = {"bits": code & 0xff, "group": code >> 8 & 0xff, "zero": code >> 16 & 0xf,
             "scale": code >> 20}
    if match[1] == "D":
        return {**facts, "shape": f"d{match[3]}", "tokens": int(match[3]), "rows": int(match[4])}
    wide = facts["bits"] == 4 and facts["group"] == 128 and facts["zero"] != 2
    return {**facts, "shape": "p", "tokens": 8 if wide else 4, "rows": 2}  # PrefillShapeOf


def parse_ptxas(text):
    """{mangled name: {"registers", "spill", "shared"}} of nvcc -Xptxas -v."""
    found = {}
    for chunk in text.split("Compiling entry function '")[1:]:
        name = chunk[:chunk.index("'")]
        spills = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores", chunk)
        registers = re.search(r"Used (\d+) registers", chunk)
        shared = re.search(r"(\d+) bytes smem", chunk)
        found[name] = {"registers": int(registers[1]), "spill": int(spills[1]) + int(spills[2]),
                       "shared": int(shared[1]) if shared else 0}
    return found


def compile_one(toolkit, source, arch, out):
    cubin_path = out / f"{pathlib.Path(source).stem}.{arch}.cubin"
    command = [f"{toolkit}/bin/nvcc", *FLAGS, f"-arch={arch}", "-I", str(ROOT), "-o",
               str(cubin_path), str(ROOT / "cuda" / source)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{source} for {arch}:\n{done.stdout}{done.stderr}")
    costs = parse_ptxas(done.stdout + done.stderr)
    capability = int(re.sub(r"\D", "", arch))
    for name, loop in cubin.kernels(cubin_path.read_bytes(), capability).items():
        costs[name].update(loop)
    return [{"arch": arch, **describe(name), **cost} for name, cost in sorted(costs.items())]


def breaches(kernel):
    """What is wrong with one kernel."""
    shape = kernel["shape"]
    where = (kernel["arch"], shape)
    if kernel["spill"] > SPILL_MAX.get(where, 0) or kernel["local"] > LOCAL_MAX.get(where, 0):
        yield f"{kernel['spill']} bytes spilled, {kernel['local']} local-memory instructions"
    if kernel["registers"] > REGISTERS_MAX[shape]:
        yield f"{kernel['registers']} registers, at most {REGISTERS_MAX[shape]}"
    if kernel["shared"] > STATIC_SHARED_BYTES_MAX:
        yield f"{kernel['shared']} bytes of static shared memory"
    # Eight steps a block, for each row tile and, with minima, for the activations' sums.
    products = 8 * kernel["tokens"] * (kernel["rows"] + (kernel["zero"] == 2))
    if kernel["products"] != products:
        yield f"{kernel['products']} tensor-core instructions in the main loop, {products} belong there"
    per_256 = kernel["loop"] / (8 * kernel["rows"])
    if per_256 > LOOP_MAX[shape]:
        yield f"{per_256:.1f} instructions for 256 weights, at most {LOOP_MAX[shape]}"


def line(kernel):
    return (f"{kernel['arch']:7} {kernel['shape']:3} bits {kernel['bits']} group {kernel['group']:3} "
            f"zero {kernel['zero']} scale {kernel['scale']}  registers {kernel['registers']:3}  "
            f"shared {kernel['shared']:5}  loop {kernel['loop']:4}  "
            f"per 256 weights {kernel['loop'] / (8 * kernel['rows']):5.1f}")


def digest(toolkit, arch):
    sha = hashlib.sha256(" ".join([*FLAGS, arch]).encode())
    sha.update(subprocess.run([f"{toolkit}/bin/nvcc", "--version"], capture_output=True).stdout)
    files = sorted((ROOT / "cuda").glob("*")) + [ROOT / "base/half.h"]
    for path in files:
        if path.suffix in (".cu", ".cuh", ".h", ".inc"):
            sha.update(path.name.encode() + path.read_bytes())
    return sha.hexdigest()[:32]


def measure(toolkit, arch, out, jobs_max):
    """{"kernels": costs of all kernels for an architecture, "cpu_s": what compiling them took}."""
    kept = out / f"{digest(toolkit, arch)}.json"
    if kept.exists():
        return json.loads(kept.read_text())
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with concurrent.futures.ThreadPoolExecutor(jobs_max) as pool:
        results = pool.map(lambda source: compile_one(toolkit, source, arch, out), SOURCES)
        kernels = [kernel for found in results for kernel in found]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found = {"kernels": kernels, "cpu_s": round(cpu_s, 1)}
    kept.write_text(json.dumps(found))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--arch", nargs="+", default=ARCHITECTURES)
    parser.add_argument("--report")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "build/cuda-gate")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    found = subprocess.run([ROOT / "tools/cuda_toolkit.sh", "--find"], capture_output=True, text=True)
    if found.returncode != 0:
        print(found.stderr.strip())
        sys.exit(SKIPPED)
    options.out.mkdir(parents=True, exist_ok=True)
    results = [measure(found.stdout.strip(), arch, options.out, options.jobs)
               for arch in options.arch]
    kernels = [kernel for result in results for kernel in result["kernels"]]
    if options.report:
        pathlib.Path(options.report).write_text("\n".join(map(line, kernels)) + "\n")
    wrong = [f"{line(kernel)}: {what}" for kernel in kernels for what in breaches(kernel)]
    for what in wrong:
        print(what)
    formats = (ROOT / "cuda/qgemm_formats.inc").read_text().count("\nQGEMM_FORMAT(")
    expected = formats * 5 * len(options.arch)
    print(f"WORKLOAD {' '.join(options.arch)}, {len(kernels)} kernels")
    print(f"RESULT cuda.gate_cpu_s {sum(result['cpu_s'] for result in results):.1f} s")
    print(f"cuda-compile-gate: {len(kernels)} of {expected} kernels, {len(wrong)} breaches")
    sys.exit(1 if wrong or len(kernels) != expected else 0)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""This engine against llama.cpp on the same file: passes in turn, the ratio of their medians.

usage: bench_peer.py INFERD_PEER_BENCH MODEL.gguf [--passes 7] [--threads 2] [--key smollm2_q4_1]

Runs in the virtual environment that tools/bench_peer.sh makes (llama-cpp-python 0.3.36, built for
this host). Both engines live in their own processes for the whole run; only one of them works at a
time. Prints RESULT peer.KEY.{decode_b1,decode_b8,prefill_512} (ours over theirs) and
peer.KEY.resident.
"""
import argparse
import ctypes
import statistics
import subprocess
import sys
import time

import llama_cpp

PASSES = {"decode_b1": (1, 16, 128), "decode_b8": (8, 16, 64), "prefill_512": (1, 512, 1)}


class Peer:
    """llama.cpp by its C interface: no Python per token but the call itself and an argmax."""

    def __init__(self, path, threads):
        llama_cpp.llama_backend_init()
        params = llama_cpp.llama_model_default_params()
        self.model = llama_cpp.llama_model_load_from_file(path.encode(), params)
        self.vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = 4096
        params.n_batch = params.n_ubatch = 512
        params.n_seq_max = 8
        params.n_threads = params.n_threads_batch = threads
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        self.batch = llama_cpp.llama_batch_init(512, 0, 1)

    def add(self, token, position, sequence, wants_logits):
        i = self.batch.n_tokens
        self.batch.token[i] = token
        self.batch.pos[i] = position
        self.batch.n_seq_id[i] = 1
        self.batch.seq_id[i][0] = sequence
        self.batch.logits[i] = wants_logits
        self.batch.n_tokens += 1

    def decode(self):
        if llama_cpp.llama_decode(self.context, self.batch) != 0:
            raise RuntimeError("llama_decode failed")

    def best(self, row):
        """The greedy token of a row of the last batch, by numpy on the logits in place."""
        import numpy as np
        logits = llama_cpp.llama_get_logits_ith(self.context, row)
        address = ctypes.cast(logits, ctypes.c_void_p).value
        view = np.ctypeslib.as_array((ctypes.c_float * self.vocab).from_address(address))
        return int(view.argmax())

    def measure(self, name, seed):
        sequences, prompt, output = PASSES[name]
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)
        start = time.perf_counter()
        self.batch.n_tokens = 0
        state, last_rows = seed, []
        for sequence in range(sequences):
            for position in range(prompt):
                state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
                self.add((state >> 33) % self.vocab, position, sequence, position == prompt - 1)
            last_rows.append(self.batch.n_tokens - 1)
        self.decode()
        tokens = [self.best(row) for row in last_rows]
        first = time.perf_counter()
        if output == 1:
            return prompt / (first - start)
        for step in range(output - 1):
            self.batch.n_tokens = 0
            for sequence, token in enumerate(tokens):
                self.add(token, prompt + step, sequence, True)
            self.decode()
            tokens = [self.best(row) for row in range(sequences)]
        return sequences * (output - 1) / (time.perf_counter() - first)


class Ours:
    def __init__(self, binary, path, threads):
        self.process = subprocess.Popen([binary, "--model", path, "--threads", str(threads)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        words = self.answer()
        self.resident, self.whole, self.device = float(words[1]), float(words[3]), " ".join(words[5:])

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit("bench_peer: inferd_peer_bench ended early")
        return line.split()

    def measure(self, name, _seed):
        self.process.stdin.write(name + "\n")
        self.process.stdin.flush()
        return float(self.answer()[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("model")
    parser.add_argument("--passes", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--key", default="smollm2_q4_1")
    args = parser.parse_args()
    ours = Ours(args.binary, args.model, args.threads)
    peer = Peer(args.model, args.threads)
    info = llama_cpp.llama_print_system_info().decode().strip()
    print(f"WORKLOAD {args.model.rsplit('/', 1)[-1]}, {args.threads} threads each, {args.passes} passes in turn; "
          f"ours: {ours.device}; peer: llama-cpp-python {llama_cpp.__version__} built for this host ({info})")
    for name in PASSES:
        for engine in (ours, peer):
            engine.measure(name, 1)
        mine, theirs = [], []
        for seed in range(args.passes):
            mine.append(ours.measure(name, seed))
            theirs.append(peer.measure(name, seed))
            print(f"SAMPLE peer.{args.key}.{name} {mine[-1] / theirs[-1]:.4f}")
        print(f"# {name}: ours {statistics.median(mine):.1f} [{min(mine):.1f}, {max(mine):.1f}], "
              f"peer {statistics.median(theirs):.1f} [{min(theirs):.1f}, {max(theirs):.1f}] tokens/s")
        ratio = statistics.median(mine) / statistics.median(theirs)
        print(f"RESULT peer.{args.key}.{name} {ratio:.3f} ratio", flush=True)
    print(f"# whole process resident: {ours.whole:.3f} times the file")
    print(f"RESULT peer.{args.key}.resident {ours.resident:.3f} ratio")


if __name__ == "__main__":
    main()

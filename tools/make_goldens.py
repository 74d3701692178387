#!/usr/bin/env python3
"""Makes the goldens of tests/golden/data from implementations that are not ours.

usage: make_goldens.py cells MODEL.gguf NAME      NAME.*.cells.gz by the exact NumPy forward pass
       make_goldens.py peer MODEL.gguf NAME       NAME.peer.json: llama.cpp on the same positions
       make_goldens.py families RANDOM_MODEL      families/*: tiny random models and llama.cpp's logits

Needs PyPI numpy, gguf and llama-cpp-python==0.3.36, and ../shared (the texts, and the exact forward
pass, which was written apart from this project). File formats: tests/golden/README.md.
"""
import argparse
import gzip
import hashlib
import json
import pathlib
import platform
import struct
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
DATA = ROOT / "tests/golden/data"
CELLS = 256
# name, file, tokens, and of how many positions the cells of the last two are kept
TEXTS = [
    ("alice", SHARED / "data/text/alice.txt", 640, 5),
    ("licence", ROOT / "LICENSE", 256, 4),
    ("source", DATA / "source.txt", 256, 4),
]
PERPLEXITY_TOKENS, PERPLEXITY_WINDOW = 16384, 1024
PROMPTS = [
    "Write one sentence about the sea.",
    "Explain what a database index is in two sentences.",
    "List three colours.",
    "Once upon a time there was a",
    "The three laws of thermodynamics say that",
    "def fibonacci(n):",
    "Dear customer, thank you for",
    "What is the difference between a process and a thread?",
    "Translate to French: good morning.",
    "The quick brown fox",
    "A short poem about autumn:",
    "In 1969, the first humans",
    "To make a good cup of tea, first",
    "SELECT name FROM users WHERE",
    "The main advantage of open source software is",
    "Summarise: The meeting was moved to Tuesday because the room was taken.",
    "Water boils at",
    "My favourite book is",
    "Security teams should rotate keys because",
    "1, 2, 3, 4,",
]


def llama(path, n_ctx, threads=1, f32_kv=False):
    import llama_cpp
    extra = {"type_k": 0, "type_v": 0} if f32_kv else {}
    return llama_cpp.Llama(model_path=str(path), n_ctx=n_ctx, n_batch=512, n_threads=threads,
                           n_threads_batch=threads, logits_all=True, verbose=False, **extra)


def ids_of(engine, text, count, add_bos):
    ids = engine.tokenize(text.encode(), add_bos=add_bos, special=False)[:count]
    assert len(ids) == count, f"the text gives {len(ids)} tokens, {count} are wanted"
    return ids


def adds_bos(name):
    return name == "gemma3"


def log_softmax(logits):
    logits = logits.astype(np.float64)
    top = logits.max(-1, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))


def rest_of(logprobs, cells):
    """Log of the mass outside the cells, [n, 1]."""
    inside = np.take_along_axis(np.exp(logprobs), cells, -1).sum(-1)
    return np.log(np.maximum(1 - inside, 1e-30))


def texts(engine, name):
    for text_name, path, count, stride in TEXTS:
        yield text_name, ids_of(engine, path.read_text(), count, adds_bos(name)), stride


def make_cells(path, name):
    sys.path.insert(0, str(SHARED / "tools"))
    import exact_forward
    engine = llama(path, 64)
    model = exact_forward.Model(str(path))
    for text_name, ids, stride in texts(engine, name):
        logprobs = log_softmax(exact_forward.forward(model, np.array(ids)))
        out = bytearray(b"INFCELL1" + struct.pack("<II", 1, len(ids)) + np.array(ids, "<i4").tobytes())
        for position in range(len(ids)):
            if position % stride < stride - 2:
                out += struct.pack("<H", 0)
                continue
            row = logprobs[position]
            cells = np.sort(np.argpartition(-row, CELLS)[:CELLS])
            rest = rest_of(row[None], cells[None])[0]
            out += struct.pack("<H", CELLS) + cells.astype("<i4").tobytes()
            out += row[cells].astype("<f4").tobytes() + struct.pack("<f", rest)
        target = DATA / f"{name}.{text_name}.cells.gz"
        target.write_bytes(gzip.compress(bytes(out), 9, mtime=0))
        print(target, target.stat().st_size)


def read_cells(path):
    """Yields (position, ids, logprobs, log_rest) and the sequence's ids first."""
    raw = gzip.decompress(path.read_bytes())
    assert raw[:8] == b"INFCELL1"
    sequences, count = struct.unpack_from("<II", raw, 8)
    assert sequences == 1
    ids = np.frombuffer(raw, "<i4", count, 16)
    at, cells = 16 + 4 * count, []
    for position in range(count):
        (k,) = struct.unpack_from("<H", raw, at)
        at += 2
        if k:
            cells.append((position, np.frombuffer(raw, "<i4", k, at),
                          np.frombuffer(raw, "<f4", k, at + 4 * k).astype(np.float64),
                          struct.unpack_from("<f", raw, at + 8 * k)[0]))
            at += 8 * k + 4
    return ids, cells


def kl_to_cells(logprobs, cells):
    total = 0.0
    for position, ids, reference, rest in cells:
        mine = logprobs[position][ids]
        my_rest = np.log(max(1 - np.exp(mine).sum(), 1e-30))
        total += (np.exp(reference) * (reference - mine)).sum() + np.exp(rest) * (rest - my_rest)
    return total


def cpu_name():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def make_peer(path, name):
    import llama_cpp
    engine = llama(path, PERPLEXITY_WINDOW)
    kl, count = 0.0, 0
    for text_name, *_ in TEXTS:
        ids, cells = read_cells(DATA / f"{name}.{text_name}.cells.gz")
        engine.reset()
        engine.eval(ids.tolist())
        kl += kl_to_cells(log_softmax(engine.scores[: len(ids)]), cells)
        count += len(cells)
    result = {
        "peer": f"llama-cpp-python {llama_cpp.__version__}, CPU build, GGML_NATIVE=ON",
        "system_info": llama_cpp.llama_print_system_info().decode(),
        "cpu": cpu_name(), "positions": count, "mean_kl": kl / count,
    }
    if name == "smollm2":
        ids = ids_of(engine, TEXTS[0][1].read_text(), PERPLEXITY_TOKENS, adds_bos(name))
        nll = 0.0
        for start in range(0, PERPLEXITY_TOKENS, PERPLEXITY_WINDOW):
            window = ids[start : start + PERPLEXITY_WINDOW]
            engine.reset()
            engine.eval(window)
            logprobs = log_softmax(engine.scores[: len(window)])
            nll -= logprobs[np.arange(len(window) - 1), window[1:]].sum()
        predicted = PERPLEXITY_TOKENS - PERPLEXITY_TOKENS // PERPLEXITY_WINDOW
        result["perplexity"] = float(np.exp(nll / predicted))
        result["perplexity_tokens"] = PERPLEXITY_TOKENS
        result["perplexity_window"] = PERPLEXITY_WINDOW
    result["greedy"] = []
    for prompt in PROMPTS:
        ids = engine.tokenize(prompt.encode(), add_bos=adds_bos(name), special=False)
        engine.reset()
        engine.eval(ids)
        output = []
        for _ in range(64):
            output.append(int(engine.scores[engine.n_tokens - 1].argmax()))
            engine.eval(output[-1:])
        result["greedy"].append({"prompt": ids, "output": output})
    target = DATA / f"{name}.peer.json"
    target.write_text(json.dumps(result, indent=None, separators=(",", ":")) + "\n")
    print(target, result["mean_kl"], result.get("perplexity"))


# name, family, further options of the random model, served context. llama.cpp ignores Phi-3's window,
# so that its model here has none; above the original context of 128 it takes the long rope factors.
FAMILIES = [
    ("llama", "llama", [], 128),
    ("mistral", "mistral", [], 128),
    ("qwen2", "qwen2", [], 128),
    ("qwen3", "qwen3", [], 128),
    ("gemma2", "gemma2", [], 128),
    ("gemma3", "gemma3", [], 128),
    ("phi3", "phi3", ["--window", "0"], 512),
]


def make_families(random_model):
    """logits [96, vocab] of llama.cpp for each random model, and the digest of the model's bytes:
    the model itself is made again from its seed by whoever compares."""
    folder = DATA / "families"
    folder.mkdir(exist_ok=True)
    index = []
    with tempfile.TemporaryDirectory() as scratch:
        for name, family, options, context in FAMILIES:
            file = pathlib.Path(scratch) / f"{name}.gguf"
            subprocess.run([random_model, "--family", family, "--seed", "7", "--format", "F32", *options, file],
                           check=True)
            made = file.read_bytes()
            # llama.cpp gives the real Phi-3's special tokens their meaning by the model's name.
            file.write_bytes(made.replace(b"random phi3", b"random fai3"))
            engine = llama(file, context, f32_kv=True)
            ids = [(7 + 13 * i + i * i) % engine.n_vocab() for i in range(96)]
            engine.eval(ids)
            logits = np.ascontiguousarray(engine.scores[: len(ids)], "<f4")
            out = b"INFLOGI1" + struct.pack("<II", *logits.shape) + np.array(ids, "<i4").tobytes() + logits.tobytes()
            (folder / f"{name}.logits.gz").write_bytes(gzip.compress(out, 9, mtime=0))
            index.append({"name": name, "family": family, "seed": 7, "window": 0 if options else None,
                          "context": context, "sha256": hashlib.sha256(made).hexdigest()})
            print(name, logits.shape, np.abs(logits).max())
    (folder / "index.json").write_text(json.dumps(index, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["cells", "peer", "families"])
    parser.add_argument("path", type=pathlib.Path)
    parser.add_argument("name", nargs="?", choices=["smollm2", "gemma3"])
    args = parser.parse_args()
    if args.what == "families":
        make_families(args.path.resolve())
    elif args.name is None:
        parser.error("NAME is missing")
    else:
        {"cells": make_cells, "peer": make_peer}[args.what](args.path, args.name)


if __name__ == "__main__":
    main()

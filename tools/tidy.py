#!/usr/bin/env python3
"""The rules of the house that no compiler checks. Exit status 1 and one line for each breach.

usage: tidy.py [ROOT]

Layers (ARCHITECTURE.md, table of rooms), includes with `..`, third-party headers outside the rooms
that may know them, words that must not merge, names with a better replacement, tests that are
switched off, READMEs, sizes, file modes.
"""
import pathlib
import re
import subprocess
import sys

# What each room may include besides itself: the table of ARCHITECTURE.md.
ROOMS = {
    "base": set(),
    "proto": set(),
    "rust": set(),
    "text": {"base", "rust"},
    "model": {"base"},
    "scheduler": {"base"},
    "governance": {"base", "rust"},
    "backend": {"base", "model"},
    "cpu": {"base", "model", "backend"},
    "cuda": {"base", "model", "backend"},
    "engine": {"base", "text", "model", "backend", "scheduler"},
    "daemon": {"base", "proto", "text", "model", "scheduler", "governance", "backend", "cpu",
               "engine"},
    "client": {"base", "proto", "text", "model", "governance"},
}
# Files with a door of their own.
EXTRA = {"daemon/backends.cc": {"cuda"}}

# A system header's prefix and who may include it.
OWNED_HEADERS = [
    (re.compile(r"^(grpc|grpcpp|google/protobuf)/"), ("daemon/", "client/", "tests/", "bench/")),
    (re.compile(r"^openssl/"), ("base/sha256.cc", "governance/", "tests/integration/auth_fixture.cc")),
    (re.compile(r"^sqlite3\.h$"), ("governance/sqlite.cc",)),
    (re.compile(r"^boost/"), ("daemon/witness/",)),
    (re.compile(r"^cuda|^cublas"), ("cuda/", "tests/cuda/")),
    (re.compile(r"^rust/"), ("rust/", "text/", "governance/")),
    (re.compile(r"^absl/status/"), ("base/status.h",)),
    (re.compile(r"^yaml-cpp/"), ("daemon/", "client/")),
    (re.compile(r"^(immintrin|x86intrin|cpuid)\.h$"), ("cpu/",)),
]
SCHEDULER_BANNED = {"thread", "mutex", "condition_variable", "atomic", "future", "fstream",
                    "iostream", "filesystem"}

# Put together so that this file does not breach itself.
UNFINISHED = re.compile(r"\b(" + "|".join(["FIX" + "ME", "X" + "XX", "HA" + "CK"]) + r")\b")
TODO_WITHOUT_ISSUE = re.compile(r"\bTO" + r"DO\b(?!\(#\d+\))")
SWITCHED_OFF = re.compile(r"\bDIS" + r"ABLED_|GTEST_" + r"SKIP\(\)\s*;|^\s*#\s*add_test\(|^\s*//\s*TEST")
BANNED = [
    (re.compile(r"\bstd::rand\b|\bsrand\("), "base/random.h"),
    (re.compile(r"\bstd::system_clock::now\b|\bstd::chrono::(system|steady)_clock::now\b"),
     "Clock of base/clock.h", ("base/clock.cc", "tests/", "bench/", "client/", "_test.cc")),
    (re.compile(r"\bstd::regex\b"), "a parser, or the crates behind rust/"),
    (re.compile(r"\bassert\("), "CHECK of base/check.h", (".py", "tests/interop/")),
    (re.compile(r"\bstd::stoi\b|\batoi\("), "std::from_chars or absl::SimpleAtoi"),
    (re.compile(r"\bthrow\b(?! *\()"), "absl::Status",
     (".py", ".js", ".md", ".proto", "rust/", "tests/interop/", ".rs")),
]
SOURCE = (".h", ".cc", ".cu", ".cuh")
SIZE_BYTES_MAX = 200_000
GOLDEN_BYTES_MAX = 4_000_000
INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)')
COMMENT = re.compile(r"//.*")


def check_include(path, room, line):
    match = INCLUDE.match(line)
    if not match:
        return
    target = match[1] or match[2]
    if ".." in target.split("/"):
        yield "an include with `..`; name the room instead"
    first = target.split("/")[0]
    if match[1] and first in ROOMS and room in ROOMS:
        if first != room and first not in ROOMS[room] | EXTRA.get(path, set()):
            yield f"room {room} may not include {first} (ARCHITECTURE.md, table of rooms)"
    for pattern, owners in OWNED_HEADERS if match[2] or first == "rust" else []:
        if pattern.search(target) and not path.startswith(owners):
            yield f"<{target}> is for {', '.join(owners)} alone"
    if room == "scheduler" and not path.endswith("_test.cc") and match[2] in SCHEDULER_BANNED:
        yield f"the scheduler is pure: no <{target}>"


def check_text(path, text):
    """Breaches inside one file: (line number, message)."""
    room = path.split("/")[0]
    is_source = path.endswith(SOURCE)
    for number, line in enumerate(text.splitlines(), 1):
        if is_source:
            for message in check_include(path, room, line):
                yield number, message
            if len(line) > 100 and "http" not in line:
                yield number, "a line of more than 100 columns"
        if UNFINISHED.search(line):
            yield number, "unfinished work does not merge"
        if TODO_WITHOUT_ISSUE.search(line):
            yield number, "a to-do names its issue: TODO(#7)"
        if SWITCHED_OFF.search(line):
            yield number, "a test switched off is a test deleted; skip with a reason"
        if not is_source:
            continue
        code = COMMENT.sub("", line)
        for pattern, instead, *allowed in BANNED:
            if pattern.search(code) and not any(part in path for part in (allowed or [()])[0]):
                yield number, f"use {instead} instead of `{pattern.search(code)[0]}`"


def check_files(root, paths):
    """Breaches of the tree: (path, message)."""
    golden = 0
    for path in paths:
        file = root / path
        size = file.stat().st_size
        if "/golden/" in f"/{path}" and "/data/" in path:
            golden += size
        elif size > SIZE_BYTES_MAX and not path.endswith(("Cargo.lock", "package-lock.json")):
            yield path, f"{size} bytes; at most {SIZE_BYTES_MAX} are kept in the tree"
        executable = file.stat().st_mode & 0o111 != 0
        script = file.read_bytes()[:2] == b"#!"
        if executable != script:
            yield path, "a file is executable exactly if it starts with #!"
    if golden > GOLDEN_BYTES_MAX:
        yield "tests/golden", f"{golden} bytes of golden data, at most {GOLDEN_BYTES_MAX}"
    for room in ROOMS:
        if any(path.startswith(room + "/") for path in paths) and f"{room}/README.md" not in paths:
            yield room, "the room has no README.md"


def tracked(root):
    out = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                         cwd=root, check=True, capture_output=True).stdout.decode()
    return [path for path in out.split("\0") if path and (root / path).is_file()]


def breaches(root):
    paths = tracked(root)
    for path, message in check_files(root, paths):
        yield f"{path}: {message}"
    for path in paths:
        if "third_party/" in path or path.endswith((".lock", "-lock.json")):
            continue
        try:
            text = (root / path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # binary
        for number, message in check_text(path, text):
            yield f"{path}:{number}: {message}"


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent)
    found = list(breaches(root.resolve()))
    print("\n".join(found) if found else "tidy: nothing to mend")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""@grpc/grpc-js (Node): streams, cancels, deadlines; the proto files are loaded as they are."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import harness

JS = Path(__file__).resolve().parent / "js"


def modules_path():
    """A folder of node_modules that holds exactly what package-lock.json names."""
    harness.need("node")
    npm = harness.need("npm")
    lock = JS / "package-lock.json"
    folder = harness.CACHE / f"js-interop-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    ready = folder / "ready"
    with harness.install_lock("js-interop"):
        if not ready.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            for file in (lock, JS / "package.json"):
                shutil.copy(file, folder)
            harness.install([npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
                            "@grpc/grpc-js", cwd=folder)
            ready.touch()
    return folder / "node_modules"


def run(daemon, modules):
    done = subprocess.run(
        ["node", str(JS / "client.js"), daemon.endpoint, harness.MODEL, str(harness.PROTO)],
        env={**os.environ, "NODE_PATH": str(modules)}, timeout=240, check=False)
    harness.check_equal(done.returncode, 0, "exit status of client.js")


if __name__ == "__main__":
    sys.exit(harness.main(run, modules_path))

#!/usr/bin/env python3
"""grpcio (Python): streams, cancels, deadlines, rich errors; no cancel leaks KV."""

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import harness

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements.txt"


def python_path():
    """The interpreter of a virtual environment with exactly the pinned requirements."""
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    venv = harness.CACHE / f"venv-interop-{digest}"
    ready = venv / "ready"
    with harness.install_lock("venv-interop"):
        if not ready.exists():
            harness.install([sys.executable, "-m", "venv", "--clear", str(venv)],
                            "a virtual environment")
            harness.install([str(venv / "bin" / "pip"), "install", "--quiet", "--requirement",
                             str(REQUIREMENTS)], "grpcio")
            ready.touch()
    return venv / "bin" / "python"


def run(daemon, python):
    with tempfile.TemporaryDirectory(prefix="inferd_stubs_") as stubs:
        made = subprocess.run(
            [str(python), "-m", "grpc_tools.protoc", f"-I{harness.PROTO}", f"--python_out={stubs}",
             f"--grpc_python_out={stubs}", "inferd/v1/generation.proto", "inferd/v1/model.proto"],
            capture_output=True, text=True, check=False)
        harness.check_equal(made.returncode, 0, f"stubs from the protos ({made.stderr})")
        done = subprocess.run(
            [str(python), str(HERE / "python_client.py"), daemon.endpoint, harness.MODEL],
            env={**os.environ, "PYTHONPATH": stubs}, timeout=240, check=False)
        harness.check_equal(done.returncode, 0, "exit status of python_client.py")


if __name__ == "__main__":
    sys.exit(harness.main(run, python_path))

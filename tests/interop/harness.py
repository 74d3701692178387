"""What the interop tests share: a daemon of their own, pinned clients, and a way to skip.

A test is a script called as `SCRIPT --inferd PATH --inferctl PATH --random-model PATH`. It ends
with 0, 1, or 77 after printing why it could not run.
"""

import argparse
import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SKIPPED = 77
ROOT = Path(__file__).resolve().parent.parent.parent
PROTO = ROOT / "proto"
CACHE = Path(os.environ.get("INFERD_CACHE_DIR") or Path.home() / ".cache" / "inferd")
MODEL = "tiny"
CONTEXT = 4096
# So deep that a whole context takes a second at least, wherever this runs: what a test cancels, or
# gives less time, has not ended by itself.
LAYERS = 32
START_SECONDS_MAX = 120
STOP_SECONDS_MAX = 60
INSTALL_SECONDS_MAX = 900

# Clients must reach loopback directly, whatever this host is told about proxies.
os.environ.pop("grpc_proxy", None)
os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1,localhost"


class TestFailure(Exception):
    """An expectation that did not hold."""


def skip(reason):
    print(f"skipped: {reason}", flush=True)
    sys.exit(SKIPPED)


def check(condition, message):
    if not condition:
        raise TestFailure(message)


def check_equal(actual, expected, what):
    check(actual == expected, f"{what}: {actual!r}, expected {expected!r}")


def need(program):
    """The path of a program, or a skip."""
    path = shutil.which(program)
    if path is None:
        skip(f"no {program} on this host")
    return path


@contextlib.contextmanager
def install_lock(name):
    """Lets one test at a time install into the cache."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / f".{name}.lock", "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def install(command, what, **kwargs):
    """Runs an installer; what it cannot do is a reason to skip, with its last words."""
    print(f"installing {what}", flush=True)
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False,
                              timeout=INSTALL_SECONDS_MAX, **kwargs)
    except (OSError, subprocess.TimeoutExpired) as error:
        skip(f"{what} cannot be installed: {error}")
    if done.returncode != 0:
        last = (done.stdout + done.stderr).strip().splitlines()[-3:]
        skip(f"{what} cannot be installed: {' | '.join(last)}")


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Daemon:
    """A running inferd that serves one tiny random model on loopback."""

    audit_level = "metadata"

    @staticmethod
    def prepare(_folder):
        """Makes what the daemon needs beside its model; more lines for its configuration."""
        return ""

    def __init__(self, args, folder):
        self.inferctl_path = args.inferctl
        self.inferd_path = args.inferd
        self.state = folder / "state"
        self.config_path = folder / "inferd.yaml"
        self.endpoint = f"127.0.0.1:{free_port()}"
        model = folder / "tiny.gguf"
        subprocess.run([args.random_model, "--family", "llama", "--seed", "7", "--context",
                        str(CONTEXT), "--layers", str(LAYERS), str(model)], check=True)
        config = self.config_path
        config.write_text(
            "schema_version: 1\n"
            f"listeners: {{data: {{address: \"{self.endpoint}\"}}}}\n"
            "device: {threads: 1}\n"
            f"models: [{{name: {MODEL}, path: \"{model}\"}}]\n"
            # One sequence of full length and no more: what a cancel leaks is missed.
            f"kv_cache: {{bytes_max: {args.kv_bytes}}}\n"
            "drain: {delay: 0s, timeout: 5s}\n"
            f"state_directory: \"{self.state}\"\n"
            # INFERD_TEST_AUDIT=off: the same without an audit log.
            f"audit: {{mode: \"{os.environ.get('INFERD_TEST_AUDIT', 'strict')}\", "
            f"level: {self.audit_level}, reserve_bytes: 0, wait_max: 30s}}\n"
            + self.prepare(folder), encoding="utf-8")
        subprocess.run([args.inferctl, "keys", "init", "--directory", str(folder / "state/keys")],
                       check=True, capture_output=True)
        self.log_path = folder / "inferd.log"
        self.start()

    def start(self):
        """Its log goes on where it was."""
        with open(self.log_path, "a", encoding="utf-8") as log:
            self.process = subprocess.Popen([self.inferd_path, "--config", str(self.config_path)],
                                            stderr=log)

    def inferctl(self, *arguments, text="", timeout=120):
        return subprocess.run([self.inferctl_path, *arguments, "--endpoint", self.endpoint],
                              input=text, capture_output=True, text=True, check=False,
                              timeout=timeout)

    def wait_ready(self):
        self.wait(lambda: self.inferctl("status", "--timeout", "2s").returncode == 0)

    def wait(self, is_ready):
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline:
            check(self.process.poll() is None,
                  f"inferd ended with {self.process.returncode} before it was ready")
            if is_ready():
                return
            time.sleep(0.1)
        raise TestFailure(f"inferd was not ready after {START_SECONDS_MAX} s")

    def restart(self):
        """Until it has loaded what it is to load, whether that answers or not."""
        ready = '"message":"ready"'
        times = self.log().count(ready)
        self.stop()
        self.start()
        self.wait(lambda: self.log().count(ready) > times)

    def stop(self):
        """SIGTERM; the exit status must be 0."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(timeout=STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            raise TestFailure(f"inferd did not stop within {STOP_SECONDS_MAX} s") from None
        check_equal(status, 0, "inferd's exit status")

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def log(self):
        return self.log_path.read_text(encoding="utf-8", errors="replace")


def parse_args():
    parser = argparse.ArgumentParser()
    for name in ("--inferd", "--inferctl", "--random-model"):
        parser.add_argument(name, required=True)
    parser.add_argument("--kv-bytes", type=int, default=LAYERS << 21)
    return parser.parse_args()


def main(test, prepare=lambda: None):
    """Prepares the client (which may skip), then runs `test(daemon, client)`."""
    args = parse_args()
    client = prepare()
    with tempfile.TemporaryDirectory(prefix="inferd_interop_") as folder:
        daemon = Daemon(args, Path(folder))
        try:
            daemon.wait_ready()
            test(daemon, client)
            daemon.stop()
        except (TestFailure, subprocess.TimeoutExpired) as failure:
            daemon.kill()
            print(f"failed: {failure}\nthe daemon's log:\n{daemon.log()}", flush=True)
            return 1
        finally:
            daemon.kill()
    print("passed", flush=True)
    return 0

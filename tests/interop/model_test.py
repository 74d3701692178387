#!/usr/bin/env python3
"""Models' signatures, judged by PyPI's model-signing, the specification's own tool.

usage: model_test.py --inferctl PATH

Folders that it signed verify with inferctl and the other way round, on each curve; one changed byte
anywhere, an extra and a missing file are refused by both. What cannot be installed skips the test.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import harness
from harness import check, check_equal, install

MODEL_SIGNING = "1.1.1"
CURVES = {"P-256": "prime256v1", "P-384": "secp384r1", "P-521": "secp521r1"}
# "a-b" before "a/c" by bytes, after it by the parts of the path.
FILES = {"weights.bin": bytes(range(256)) * 40, "a/c.json": b"{}", "a-b": b"x", "a/d/e": b"deep"}
VERIFICATION_FAILED = 6


def judge():
    venv = harness.CACHE / f"venv-model-signing-{MODEL_SIGNING}"
    ready = venv / "ready"
    with harness.install_lock("venv-model-signing"):
        if not ready.exists():
            install([sys.executable, "-m", "venv", "--clear", str(venv)], "a virtual environment")
            # pyopenssl is missing among its requirements.
            install([str(venv / "bin" / "pip"), "install", "--quiet",
                     f"model-signing=={MODEL_SIGNING}", "pyopenssl"],
                    f"model-signing {MODEL_SIGNING}")
            ready.touch()
    return venv / "bin" / "model_signing"


def run(*command):
    return subprocess.run([str(word) for word in command], capture_output=True, check=False,
                          timeout=120, text=True)


def make_model(folder):
    for name, content in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def make_keys(folder, curve):
    secret, public = folder / "secret.pem", folder / "public.pem"
    for command in (["openssl", "ecparam", "-name", curve, "-genkey", "-noout", "-out", secret],
                    ["openssl", "ec", "-in", secret, "-pubout", "-out", public]):
        check_equal(run(*command).returncode, 0, "openssl's exit status")
    secret.chmod(0o600)
    return secret, public


class Signers:
    """Both programs, with one face."""

    def __init__(self, inferctl, theirs, model, keys):
        self.inferctl, self.theirs, self.model = inferctl, theirs, model
        self.secret, self.public = keys

    def sign(self, ours, signature):
        if ours:
            done = run(self.inferctl, "model", "sign", self.model, "--key", self.secret,
                       "--signature", signature)
        else:
            done = run(self.theirs, "sign", "key", self.model, "--private_key", self.secret,
                       "--signature", signature)
        check_equal(done.returncode, 0, f"signing: {done.stderr[-500:]}")

    def verify(self, ours, signature):
        if ours:
            done = run(self.inferctl, "model", "verify", self.model, "--public-key", self.public,
                       "--signature", signature)
            check(done.returncode in (0, VERIFICATION_FAILED),
                  f"inferctl model verify: {done.returncode}: {done.stderr[-500:]}")
        else:
            done = run(self.theirs, "verify", "key", self.model, "--public_key", self.public,
                       "--signature", signature)
        return done.returncode == 0


def changes(model):
    """Each (what, how to undo it), made."""
    for name, content in FILES.items():
        for at in {0, len(content) // 2, len(content) - 1}:
            changed = bytearray(content)
            changed[at] ^= 1
            (model / name).write_bytes(changed)
            yield f"{name} changed at {at}"
            (model / name).write_bytes(content)
    (model / "extra").write_bytes(b"?")
    yield "an extra file"
    (model / "extra").unlink()
    (model / "a-b").rename(model / "a-z")
    yield "a renamed file"
    (model / "a-z").rename(model / "a-b")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--inferctl", required=True)
    args = parser.parse_args()
    harness.need("openssl")
    theirs = judge()
    for name, curve in CURVES.items():
        with tempfile.TemporaryDirectory(prefix="inferd_interop_model_") as scratch:
            folder = Path(scratch)
            model = folder / "model"
            make_model(model)
            signers = Signers(args.inferctl, theirs, model, make_keys(folder, curve))
            for ours in (True, False):
                signature = folder / f"{'ours' if ours else 'theirs'}.sig"
                signers.sign(ours, signature)
                for by_us in (True, False):
                    check(signers.verify(by_us, signature),
                          f"{name}: signed by {'us' if ours else 'them'}, refused by "
                          f"{'us' if by_us else 'them'}")
                if name == "P-256":
                    for what in changes(model):
                        check(not signers.verify(True, signature), f"{what}: taken by us")
            # A signature that lies in the folder does not cover itself.
            inside = model / "model.sig"
            signers.sign(True, inside)
            check(signers.verify(True, inside) and signers.verify(False, inside),
                  f"{name}: a signature in its folder is refused")
            shutil.rmtree(model)
    print("RESULT model.interop_failures 0 count")


if __name__ == "__main__":
    main()

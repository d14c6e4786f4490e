#!/usr/bin/env python3
"""Folders of core/ are dependency order: fail where a file includes a header of a later folder.

The order is the list `ice_folders` of meson.build, then `py`. Headers named *_int.h are a folder's own and
may be included only there. Functions and objects named ice__* are a folder's own as well, but the linker knows
no folders, and a static library takes the first one it meets: fail where two folders define one.

Usage: check_layers.py [repository root]
"""

import re
import sys
from pathlib import Path

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+"([^"]+)"', re.MULTILINE)

NOT_CODE = re.compile(
    r"""/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|^[ \t]*#(?:\\\n|[^\n])*""", re.MULTILINE | re.DOTALL
)
BRACKETS = [(re.compile(r"\([^(){}]*\)"), "\x01"), (re.compile(r"\{[^{}]*\}"), "\x02"), (re.compile(r"\[[^][]*\]"), "")]
# With brackets collapsed: a function with its body, or an object with its value or without.
DEFINITION = re.compile(r"([^;\x02]*?)\b(ice__\w+)\s*(?:\x01\s*\x02|=|;)")


def folder_order(root: Path) -> list[str]:
    text = (root / "meson.build").read_text()
    found = re.search(r"^ice_folders\s*=\s*\[(.*?)\]", text, re.MULTILINE | re.DOTALL)
    if not found:
        sys.exit("meson.build has no list ice_folders")
    return [*re.findall(r"'([^']+)'", found[1]), "py"]


def faults_of(path: Path, core: Path, rank: dict[str, int]) -> list[str]:
    folder = path.relative_to(core).parts[0]
    if folder not in rank:
        return [f"{path}: folder {folder!r} is not in meson.build's ice_folders"]
    text = path.read_text()
    faults = []
    for found in INCLUDE.finditer(text):
        header = found[1]
        where = f"{path}:{text.count(chr(10), 0, found.start()) + 1}"
        target = header.split("/")[0]
        if "/" not in header or target not in rank:
            faults.append(f'{where}: "{header}" does not name a folder of core/')
        elif rank[target] > rank[folder]:
            faults.append(f'{where}: {folder}/ is below {target}/ and may not include "{header}"')
        elif target != folder and header.endswith("_int.h"):
            faults.append(f'{where}: "{header}" belongs to {target}/ alone')
    return faults


def definitions(text: str) -> set[str]:
    """Names ice__* that a file gives to the linker."""
    text = NOT_CODE.sub(" ", text)
    for pattern, mark in BRACKETS * 40:  # innermost first: as deep as brackets go
        text = pattern.sub(mark, text)
    found = set()
    for before, name in DEFINITION.findall(text):
        words = before.split()
        if words and not {"static", "extern", "typedef"} & set(words):
            found.add(name)
    return found


def shared_names(paths: list[Path], core: Path) -> list[str]:
    where: dict[str, Path] = {}
    faults = []
    for path in paths:
        for name in sorted(definitions(path.read_text())):
            first = where.setdefault(name, path)
            if first.relative_to(core).parts[0] != path.relative_to(core).parts[0]:
                faults.append(f"{path}: {name} is defined in {first} too, which is another folder's")
    return faults


def main() -> int:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent
    core = root / "core"
    rank = {name: i for i, name in enumerate(folder_order(root))}
    paths = sorted(p for p in core.rglob("*") if p.suffix in {".c", ".h"})
    faults = [fault for path in paths for fault in faults_of(path, core, rank)] + shared_names(paths, core)
    print(*faults, sep="\n", end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Folders of core/ are dependency order: fail where a file includes a header of a later folder.

The order is the list `ice_folders` of meson.build, then `py`. Headers named *_int.h are a folder's own and
may be included only there.

Usage: check_layers.py [repository root]
"""

import re
import sys
from pathlib import Path

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+"([^"]+)"', re.MULTILINE)


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


def main() -> int:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent
    core = root / "core"
    rank = {name: i for i, name in enumerate(folder_order(root))}
    paths = sorted(p for p in core.rglob("*") if p.suffix in {".c", ".h"})
    faults = [fault for path in paths for fault in faults_of(path, core, rank)]
    print(*faults, sep="\n", end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

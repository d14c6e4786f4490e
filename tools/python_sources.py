#!/usr/bin/env python3
"""Files of the Python packages, one a line, for meson.build: everything below them but bytecode and built modules."""

from pathlib import Path

PACKAGES = ("django_iceberg", "polars_iceberg")
NOT_SOURCES = {".pyc", ".so"}


def main():
    root = Path(__file__).resolve().parent.parent
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*")):
            if path.is_file() and path.suffix not in NOT_SOURCES and "__pycache__" not in path.parts:
                print(path.relative_to(root).as_posix())


if __name__ == "__main__":
    main()

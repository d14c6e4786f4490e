#!/bin/sh
# The virtual environment .venv with the package built and installed, and what tests, demo and benchmarks need.
# Later calls reuse it; dependencies follow pyproject.toml, the package follows the sources.
set -eu
cd "$(dirname "$0")/.."
venv=.venv
PATH=$PWD/$venv/bin:$PATH
export PATH
built=$venv/.built
depended=$venv/.depended

build() { $venv/bin/pip install -q --no-build-isolation -C build-dir=build/python "$@"; }

if [ ! -x $venv/bin/python ]; then
    rm -rf $venv
    tools/setup.sh
    python3 -m venv $venv
fi
if [ ! -f $depended ] || [ pyproject.toml -nt $depended ]; then
    tools/setup.sh
    mkdir -p build
    echo "installing dependencies into $venv"
    $venv/bin/pip install -q --upgrade pip
    # A build without isolation finds its back end here.
    $venv/bin/pip install -q $($venv/bin/python -c '
import tomllib
print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"])')
    rm -f $built
    build '.[test,demo,bench]'
    touch $depended $built
fi
sources="core django_iceberg polars_iceberg meson.build meson_options.txt pyproject.toml tools/python_sources.py"
if [ ! -f $built ] || [ -n "$(find $sources -newer $built ! -path '*/__pycache__*' ! -name '*.pyc' -print | head -n 1)" ]; then
    echo "building django-iceberg"
    mkdir -p build
    touch $venv/.building
    build --no-deps --force-reinstall .
    mv $venv/.building $built # as old as the build's beginning: what changed meanwhile is built next time
fi

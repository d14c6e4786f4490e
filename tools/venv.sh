#!/bin/sh
# A virtual environment with the package built and installed.
#     tools/venv.sh        .venv: tests, demo, benchmarks
#     tools/venv.sh 5.2    build/django-5.2/venv: the newest Django 5.2 and what its own test suite wants; 6 likewise
# Later calls reuse it; dependencies follow pyproject.toml, the package follows the sources.
set -eu
cd "$(dirname "$0")/.."
series=${1:-}
case $series in
'') venv=.venv build_dir=build/python extras=test,demo,bench django=Django ;;
5.2) venv=build/django-5.2/venv build_dir=build/django-5.2/core extras=suite django='Django>=5.2,<5.3' ;;
6) venv=build/django-6/venv build_dir=build/django-6/core extras=suite django='Django>=6,<7' ;;
*) echo "$0: no environment for Django $series: 5.2 or 6" >&2; exit 2 ;;
esac
PATH=$PWD/$venv/bin:$PATH
export PATH
built=$venv/.built
depended=$venv/.depended

setup() { tools/setup.sh ${series:+gettext}; }
build() { $venv/bin/pip install -q --no-build-isolation -C build-dir=$build_dir "$@"; }

# A Python with the headers that the core is built with, from a version on; the first of those given that runs.
python_from() {
    least=$1
    shift
    for python in "$@"; do
        if "$python" -c "
import os, sys, sysconfig
sys.exit(sys.version_info < $least or not os.path.exists(sysconfig.get_paths()['include'] + '/Python.h'))" 2>/dev/null; then
            echo "$python"
            return
        fi
    done
    echo "no Python from $least on with its headers is on PATH, nor one of pyenv's or uv's ('uv python install 3.13')" >&2
    return 1
}

python_for_series() {
    versions=$HOME/.pyenv/versions
    case $series in
    '') echo python3 ;;
    5.2) python_from '(3, 11)' python3.11 python3 ;;
    6) python_from '(3, 12)' python3 python3.14 python3.13 python3.12 "$versions"/3.14*/bin/python3 "$versions"/3.13*/bin/python3 \
        "$versions"/3.12*/bin/python3 "$(uv python find '>=3.12' 2>/dev/null)" ;;
    esac
}

if [ ! -x $venv/bin/python ]; then
    rm -rf $venv
    setup
    python=$(python_for_series)
    "$python" -m venv $venv
fi
if [ ! -f $depended ] || [ pyproject.toml -nt $depended ]; then
    setup
    mkdir -p build
    echo "installing dependencies into $venv"
    $venv/bin/pip install -q --upgrade pip
    # A build without isolation finds its back end here.
    $venv/bin/pip install -q $($venv/bin/python -c '
import tomllib
print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"])')
    rm -f $built
    build ".[$extras]" "$django"
    touch $depended $built
fi
sources="core django_iceberg polars_iceberg meson.build meson_options.txt pyproject.toml tools/python_sources.py"
if [ ! -f $built ] || [ -n "$(find $sources -newer $built ! -path '*/__pycache__*' ! -name '*.pyc' -print | head -n 1)" ]; then
    echo "building django-iceberg for $venv"
    mkdir -p build
    touch $venv/.building
    build --no-deps --force-reinstall .
    mv $venv/.building $built # as old as the build's beginning: what changed meanwhile is built next time
fi

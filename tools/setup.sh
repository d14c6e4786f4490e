#!/bin/sh
# System packages that the build needs: installs what is missing where that is allowed, else prints the line to run.
#
#   tools/setup.sh [postgresql] [chromium] [gettext] [strace]
#       also a PostgreSQL server (tests, benchmarks), a browser and its driver (tests), what Django's own test suite compiles
#       messages with, what counts the calls of fdatasync (benchmarks)
set -eu

missing=
need() { missing="$missing $1"; }

for extra in "$@"; do
    case $extra in
    postgresql)
        ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null 2>&1 || need postgresql
        ;;
    chromium)
        command -v chromedriver >/dev/null 2>&1 || need "chromium chromium-driver"
        ;;
    gettext)
        command -v msgfmt >/dev/null 2>&1 || need gettext
        ;;
    strace)
        command -v strace >/dev/null 2>&1 || need strace
        ;;
    *)
        echo "$0: unknown: $extra" >&2
        exit 2
        ;;
    esac
done

command -v gcc >/dev/null 2>&1 || need "gcc libc6-dev"
if command -v pkg-config >/dev/null 2>&1; then
    pkg-config --exists sqlite3 || need libsqlite3-dev
    pkg-config --exists zlib || need zlib1g-dev
    pkg-config --exists jansson || need libjansson-dev
    pkg-config --exists libxxhash || need libxxhash-dev
    pkg-config --exists nettle || need nettle-dev
    pkg-config --exists libpcre2-8 || need libpcre2-dev
    pkg-config --exists cmocka || need libcmocka-dev
else
    missing="$missing pkg-config libsqlite3-dev zlib1g-dev libjansson-dev libxxhash-dev nettle-dev libpcre2-dev libcmocka-dev"
fi
if ! echo '#include <roaring/roaring.h>' | gcc -E - >/dev/null 2>&1; then
    need libroaring-dev
fi

python=$(command -v python3) || { echo "python3 (3.11 or later) is not on PATH" >&2; exit 1; }
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    { echo "$python is older than Python 3.11" >&2; exit 1; }
# Debian ships a Python's headers and its venv module apart.
if ! "$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_paths()["include"] + "/Python.h"))'; then
    need python3-dev
fi
"$python" -c 'import ensurepip, venv' 2>/dev/null || need python3-venv

[ -n "$missing" ] || exit 0
line="apt-get install -y --no-install-recommends$missing"
if ! command -v apt-get >/dev/null 2>&1; then
    echo "missing, by Debian's names:$missing" >&2
    exit 1
fi
if [ "$(id -u)" = 0 ]; then
    as_root=
elif sudo -n true 2>/dev/null; then
    as_root=sudo
else
    printf 'packages are missing; please run:\n    sudo %s\n' "$line" >&2
    exit 1
fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq
$as_root $line

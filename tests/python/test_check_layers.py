"""tools/check_layers.py finds what it is there to find."""

import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "check_layers.py"


@pytest.fixture
def tree(tmp_path):
    shutil.copy(ROOT / "meson.build", tmp_path)
    shutil.copytree(ROOT / "core", tmp_path / "core")
    return tmp_path


def faults(tree):
    done = subprocess.run([sys.executable, TOOL, tree], capture_output=True, text=True, check=False)
    assert done.returncode == bool(done.stdout), done.stderr
    return [line.replace(f"{tree}/", "") for line in done.stdout.splitlines()]


def plant(tree, path, text):
    file = tree / path
    file.write_text(file.read_text() + text if file.exists() else text)


def test_the_sources_are_in_order(tree):
    assert faults(tree) == []


def test_includes(tree):
    plant(tree, "core/io/planted.c", '#include "table/table.h"\n#include "base/base_int.h"\n')
    assert faults(tree) == [
        'core/io/planted.c:1: io/ is below table/ and may not include "table/table.h"',
        'core/io/planted.c:2: "base/base_int.h" belongs to base/ alone',
    ]


@pytest.mark.parametrize(
    "text",
    [
        (
            "/* A note. */\nstatic int one(void)\n{\n    return 1;\n}\n\nice_code ice__planted(int (*f)(void), char c[4])\n"
            "{\n    if (c[0] == '{') {\n        return f();\n    }\n    return ICE_OK;\n}\n"
        ),
        '#define OPEN {\nconst char *const ice__planted[] = {"a;", "b"};\n',
        "struct pair {\n    int a, b;\n};\n_Thread_local struct pair ice__planted;\n",
    ],
    ids=["function", "table", "object"],
)
def test_one_name_in_two_folders(tree, text):
    plant(tree, "core/store/first.c", text)
    plant(tree, "core/store/again.c", text)
    assert faults(tree) == []  # a folder's own business, and the linker's
    plant(tree, "core/table/second.c", text)
    assert faults(tree) == [
        "core/table/second.c: ice__planted is defined in core/store/again.c too, which is another folder's"
    ]


def test_what_is_no_definition(tree):
    plant(tree, "core/store/first.c", "int ice__planted(void)\n{\n    return 0;\n}\n")
    plant(
        tree,
        "core/table/second.c",
        "/* int ice__planted(void) { } */\nextern int ice__planted(void);\nint ice__planted(void);\n"
        'static const char *s = "int ice__planted(void) {}";\nstatic int ice__planted(void)\n{\n    return 1;\n}\n'
        "int other(void)\n{\n    int ice__planted = 2;\n    return ice__planted;\n}\n",
    )
    assert faults(tree) == []

"""What the documents say is what the sources have: names, options, codes, links."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from peer import differences

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
WORDS = {
    word
    for folder in ("core", "django_iceberg", "tests/c", "tests/python")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".c", ".h", ".py"} and path != Path(__file__)
    for word in re.findall(r"\w+", path.read_text())
} | {"ice_folders"}


def test_errors_page_is_what_the_header_says():
    subprocess.run([sys.executable, ROOT / "tools" / "gen_errors.py", "--check"], check=True)


def test_every_option_is_documented():
    page = (ROOT / "docs" / "settings.md").read_text()
    conf = (ROOT / "django_iceberg" / "conf.py").read_text()
    known = re.findall(r'^    "([\w.-]+)": \(', conf.split("CORE_OPTIONS = {")[1].split("\n}\n")[0], re.MULTILINE)
    documented = re.findall(r"^\| `([\w.-]+)` \|", page.split("## OPTIONS")[1], re.MULTILINE)
    assert sorted(documented) == sorted(known)
    core = set(re.findall(r'^    \{"([\w.-]+)",', (ROOT / "core" / "py" / "options.c").read_text(), re.MULTILINE))
    assert set(known) <= core


def test_differences_from_postgresql_are_those_of_the_comparison():
    page = (ROOT / "docs" / "sql.md").read_text().split("## Where answers are not PostgreSQL's")[1]
    documented = re.findall(r"^\| ([^|]+?) \|", page, re.MULTILINE)[1:]
    assert sorted(documented) == sorted(differences.NAMES)
    assert len(documented) <= 15


def test_every_command_is_named_in_the_readme():
    page = (ROOT / "README.md").read_text()
    for path in (ROOT / "django_iceberg" / "management" / "commands").glob("iceberg_*.py"):
        assert f"`{path.stem}`" in page


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if not target.startswith(("http://", "https://", "#")):
            assert (path.parent / target.split("#")[0]).exists(), target


def test_names_in_the_architecture_exist():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    named = re.findall(r"`([^`\n]+)`", text)
    functions = {name for name in named if re.fullmatch(r"[a-z_]+", name) and "_" in name}
    assert not {name for name in functions if name not in WORDS and f"test_{name}" not in WORDS}
    for name in named:
        if (
            re.fullmatch(r"(core|django_iceberg|tests|tools)/[\w./*]+", name)
            and "*" not in name
            and not name.endswith("/")
        ):
            assert (ROOT / name).exists(), name


def test_folders_are_in_the_order_of_the_build():
    order = re.search(r"^ice_folders = \[(.*)\]", (ROOT / "meson.build").read_text(), re.MULTILINE)[1]
    table = (ROOT / "ARCHITECTURE.md").read_text().split("## Folders")[1].split("##")[0]
    assert re.findall(r"^\| `(\w+)/`", table, re.MULTILINE) == [*re.findall(r"'(\w+)'", order), "py"]

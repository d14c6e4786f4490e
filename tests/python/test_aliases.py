"""polars_iceberg holds our alias paths and Polars' plugin, in one folder, whichever is installed first."""

import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]
ALIASES = ROOT / "polars_iceberg"
CODE = "import polars_iceberg.backend, polars_iceberg as p; print(getattr(p, '__version__', 'no plugin'))"


def run(site):
    env = {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run([sys.executable, "-S", "-c", CODE], env=env, capture_output=True, text=True, check=True)
    return result.stdout.strip()


def test_our_folder_has_no_init():
    assert not (ALIASES / "__init__.py").exists()


def test_alone(tmp_path):
    shutil.copytree(ALIASES, tmp_path / "polars_iceberg")
    assert run(tmp_path) == "no plugin"


def test_beside_the_plugin(tmp_path):
    (tmp_path / "polars_iceberg").mkdir()
    (tmp_path / "polars_iceberg" / "__init__.py").write_text("__version__ = 'plugin'\n")
    shutil.copytree(ALIASES, tmp_path / "polars_iceberg", dirs_exist_ok=True)
    assert run(tmp_path) == "plugin"


def test_every_backend_module_has_its_alias():
    ours = {p.name for p in (ROOT / "django_iceberg" / "backend").glob("*.py") if not p.name.startswith("_")}
    aliases = {p.name for p in (ALIASES / "backend").glob("*.py") if not p.name.startswith("_")}
    assert ours == aliases

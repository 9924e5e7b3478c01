"""What an import drags in: the device has no torch, and the command line has no time."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ABSENT_ON_A_DEVICE = ("torch", "transformers", "optimum", "onnx", "datasets", "pandas", "safetensors", "hrkd_export")
EDGE_PACKAGES = ("hrkd_bench", "hrkd_cli.commands")
EDGE_MODULES = (
    *("hrkd.engines", "hrkd.bundle_archive", "hrkd.bundle_card", "hrkd.bundle_hub", "hrkd.bundle_verify"),
    *("hrkd", "hrkd.errors", "hrkd.artifact", "hrkd.bundle", "hrkd.metrics", "hrkd.recipe", "hrkd.run_folder"),
    *("hrkd_cli.main", "hrkd_cli.measure", "hrkd_cli.bench_progress", "hrkd_cli.recipes", "hrkd_cli.report_context"),
)


def modules_loaded_by(code: str) -> list[str]:
    """Run code in a fresh interpreter and return what stands in `sys.modules` afterwards."""
    script = f"import json, sys\n{code}\nprint(json.dumps(sorted(name for name, m in sys.modules.items() if m)))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    return list(json.loads(result.stdout.splitlines()[-1]))


def test_the_edge_part_imports_without_torch() -> None:
    """Prevents a module that works on the developer's machine and breaks on the device.

    Every module of the bench package is imported; import-linter does not see imports by name.
    """
    code = f"""
import importlib, pkgutil
sys.path[:0] = ["export", "benchmarks"]
for name in {ABSENT_ON_A_DEVICE!r}:
    sys.modules[name] = None
for name in {EDGE_MODULES!r}:
    importlib.import_module(name)
for name in {EDGE_PACKAGES!r}:
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        importlib.import_module(module.name)
"""
    loaded = modules_loaded_by(code)
    assert set(EDGE_MODULES) <= set(loaded)
    assert len([name for name in loaded if name.startswith("hrkd_bench.")]) > 10


@pytest.mark.parametrize("package", ["hrkd", "hrkd_cli", "hrkd_bench", "hrkd_export", "hrkd.data", "hrkd.data.dataset"])
def test_importing_a_package_loads_nothing_heavy(package: str) -> None:
    """Prevents an `__init__` that pulls torch in for everybody who wants one name."""
    loaded = modules_loaded_by(f'sys.path[:0] = ["export", "benchmarks"]\nimport {package}')
    heavy = {"torch", "transformers", "onnxruntime", "onnx", "optimum", "datasets", "pandas", "matplotlib"}
    assert package in loaded
    assert heavy.isdisjoint(loaded)


def test_the_version_stands_in_one_place() -> None:
    """Prevents a wheel that calls itself otherwise than the code in it."""
    from hrkd import __version__

    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    holders = [path for path in ROOT.glob("hrkd*/**/*.py") if f'"{__version__}"' in path.read_text(encoding="utf-8")]
    assert holders == [ROOT / "hrkd" / "__init__.py"]
    try:
        installed = metadata.version("hrkd")
    except metadata.PackageNotFoundError:
        pytest.skip("hrkd is not installed, only on the path")
    assert installed == __version__

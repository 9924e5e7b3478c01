"""Files beside the code: pins, shipped recipes, scripts."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from hrkd_cli.recipes import open_recipe, shipped_recipes, shipped_text

ROOT = Path(__file__).resolve().parents[2]
PINS = sorted((ROOT / "requirements").glob("*.txt"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def pinned(path: Path) -> dict[str, set[str]]:
    """Return the pinned versions of each package."""
    versions: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==(\S+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE):
        versions.setdefault(name, set()).add(version)
    return versions


def test_the_files_of_pins_are_the_known_ones() -> None:
    """Prevents the tests below from passing over an empty list."""
    assert {path.stem for path in PINS} == {
        "demo-weights",
        "dev",
        "edge",
        "torch",
        "torch-cpu",
        "torch-cuda",
        "transformers5",
    }


@pytest.mark.parametrize("path", PINS, ids=lambda path: path.stem)
def test_pins_have_hashes_and_no_addresses(path: Path) -> None:
    """Prevents an unpinned package, and an address of one machine's package source in everybody's files."""
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"://|^\s*-(?!-hash=)|file:|git\+| @ ", text, flags=re.MULTILINE)
    logical = [line for line in text.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
    assert logical
    for line in logical:
        assert re.match(r"[\w.-]+==[\w.+!]+( ;[^;]+?)?\s+(--hash=sha256:[0-9a-f]{64}\s*)+$", line), line[:100]


def test_the_device_gets_what_was_tested() -> None:
    """Prevents a device with other versions than the tests ran with, or with torch on it."""
    dev, edge = pinned(ROOT / "requirements" / "dev.txt"), pinned(ROOT / "requirements" / "edge.txt")
    assert {"onnxruntime", "tokenizers", "psutil", "numpy", "typer", "pydantic", "rich", "pyyaml"} <= set(edge)
    assert {name: versions for name, versions in edge.items() if dev.get(name) != versions} == {}
    assert not {name for name in edge if name == "torch" or name.startswith(("nvidia", "transformers", "optimum"))}


def test_the_main_file_holds_neither_torch_nor_cuda() -> None:
    """Prevents 3 GB of CUDA packages on a machine with a CPU build of torch."""
    dev = pinned(ROOT / "requirements" / "dev.txt")
    cuda = pinned(ROOT / "requirements" / "torch-cuda.txt")
    assert {"torch", "triton"}.isdisjoint(dev)
    assert not [name for name in dev if name.startswith(("nvidia", "cuda"))]
    assert {"nvidia-cublas", "triton"} <= set(cuda)
    assert pinned(ROOT / "requirements" / "torch.txt") == {"torch": {"2.13.0"}}
    assert pinned(ROOT / "requirements" / "torch-cpu.txt") == {"torch": {"2.13.0+cpu"}}


def test_extras_that_own_the_same_folder_are_declared_as_conflicts() -> None:
    """Prevents an environment with both onnxruntime wheels, of which one wins by chance."""
    conflicts = [{part["extra"] for part in pair} for pair in PROJECT["tool"]["uv"]["conflicts"]]
    assert {"edge", "gpu"} in conflicts


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_is_valid_and_says_how_to_run_it(name: str) -> None:
    """Prevents a shipped recipe that rots, or whose name is not the one in its how-to."""
    text = shipped_text(name)
    assert open_recipe(name).name == name
    assert text.startswith("# ")
    assert f"hrkd run {name}" in text


def test_all_recipe_files_are_shipped() -> None:
    """Prevents a recipe in a sub-folder or with another suffix from being neither shipped nor tested."""
    files = [path for path in (ROOT / "hrkd").rglob("*.y*ml") if path.is_file()]
    assert len(files) == len(shipped_recipes()) == 3


def test_how_to_commands_of_the_recipes_exist() -> None:
    """Prevents a header that names a command or an option that is gone."""
    from typer.testing import CliRunner

    from hrkd_cli.main import app

    commands = {
        tuple(words)
        for name in shipped_recipes()
        for words in re.findall(r"hrkd (data|recipe) (\w+)|hrkd (\w+)", shipped_text(name))
    }
    assert commands
    for words in commands:
        command = [word for word in words if word]
        assert CliRunner().invoke(app, [*command, "--help"]).exit_code == 0, command


def test_large_files_are_refused(tmp_path: Path) -> None:
    """Prevents a model from being committed by accident."""
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(b"x")
    large.write_bytes(b"x" * 600_000)
    script = [sys.executable, str(ROOT / "scripts" / "refuse_large_files.py")]
    assert subprocess.run([*script, str(small)], check=False).returncode == 0
    assert subprocess.run([*script, str(small), str(large)], check=False, capture_output=True).returncode == 1


def test_setup_says_that_python_is_too_old(tmp_path: Path) -> None:
    """Prevents a syntax error three files deep as the first thing a user of an old Python sees."""
    old = tmp_path / "python-old"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.2" && exit 0\nexit 3\n', encoding="utf-8")
    old.chmod(0o755)
    environment = {"PATH": "/usr/bin:/bin", "PYTHON": str(old), "VENV": str(tmp_path / "venv")}
    result = subprocess.run(
        ["bash", str(ROOT / "scripts" / "setup.sh")], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "is Python 3.9.2, hrkd needs Python 3.11 or newer" in result.stderr
    assert "hint: " in result.stderr
    assert not (tmp_path / "venv").exists()


def test_readme_shows_the_committed_measurement() -> None:
    """Numbers edited by hand, or left over from an earlier run, are claims that nothing backs."""
    result = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "readme.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr or "run `make demo && make readme`"

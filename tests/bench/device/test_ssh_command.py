"""What the device's shell makes of a path to Python."""

from __future__ import annotations

import os
import pwd
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hrkd.errors import BenchError
from hrkd_bench.device.facts import ask
from ssh_server import Server


def from_home(path: Path) -> str:
    """Return a path as somebody writes it who means the home folder."""
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    return f"~/{os.path.relpath(path.resolve(), home.resolve())}"


def test_a_python_below_the_home_folder_is_found(server: Server, tmp_path: Path) -> None:
    """Prevents "no such file" for the one path that the user has just tried in a shell of the device."""
    python = tmp_path / "a 'b' $(touch evil)" / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    assert ask(replace(server.target(tmp_path / "there"), python=from_home(python))).bits == 64
    assert not (Path.home() / "evil").exists()


@pytest.mark.parametrize("python", ["~/nowhere; touch evil", "~/$(touch evil)", "~nobody/python", "$HOME/python", "~"])
def test_nothing_else_is_expanded(server: Server, tmp_path: Path, python: str) -> None:
    """Prevents commands that reach the device's shell through the name of a program."""
    with pytest.raises(BenchError, match="cannot start") as caught:
        ask(replace(server.target(tmp_path / "there"), python=python))
    assert f"`{python}`" in caught.value.message
    assert not (Path.home() / "evil").exists()

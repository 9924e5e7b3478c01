"""Start-up: fast, light, and every command explains itself."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from hrkd import __version__
from hrkd_cli.main import app

COMMANDS = (
    ("run",),
    ("teacher",),
    ("distill",),
    ("evaluate",),
    ("export",),
    ("bench", "measure"),
    ("bench", "compare"),
    ("bench", "tune"),
    ("bench", "pack"),
    ("bench", "merge"),
    ("doctor",),
    ("plan",),
    ("predict",),
    ("report",),
    ("bundle", "verify"),
    ("bundle", "pack"),
    ("bundle", "unpack"),
    ("bundle", "push"),
    ("bundle", "web"),
    ("data", "fetch"),
    ("data", "check"),
    ("recipe", "list"),
    ("recipe", "show"),
    ("recipe", "validate"),
)
WITHOUT_EXAMPLE = {("recipe", "list")}
HEAVY = ("torch", "transformers", "onnxruntime", "datasets", "numpy", "pandas", "pydantic", "yaml", "matplotlib")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(command: tuple[str, ...]) -> None:
    """Prevents a command that fails while its options are parsed, or whose help lost its example."""
    result = CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0, result.output
    if command not in WITHOUT_EXAMPLE:
        # The first command of `bench` needs no name.
        words = "bench" if command == ("bench", "measure") else " ".join(command)
        assert f"hrkd {words}" in result.output.partition("Example")[2]


def test_the_list_of_commands_is_complete() -> None:
    """Prevents a command that is registered but tested nowhere in this table."""
    names = {command.name or command.callback.__name__ for command in app.registered_commands}
    groups = {
        (group.name, command.name or command.callback.__name__)
        for group in app.registered_groups
        for command in group.typer_instance.registered_commands
    }
    assert {(name,) for name in names} | groups == set(COMMANDS)


def test_help_imports_nothing_heavy() -> None:
    """Prevents a module-level import that makes every call, completion included, seconds slow."""
    code = (
        "import sys; from hrkd_cli.main import main; main(['--help']); "
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Commands:" in result.stdout
    assert result.stderr.strip() == "[]"


def test_version(hrkd) -> None:
    """Prevents a second place for the version that goes stale."""
    assert hrkd("--version").out == f"hrkd {__version__}\n"


def test_no_arguments_show_help_as_a_usage_error(hrkd) -> None:
    """Prevents a bare `hrkd` from ending as a success in a script that lost its arguments."""
    result = hrkd()
    assert result.code == 2
    assert "Commands:" in result.out + result.err

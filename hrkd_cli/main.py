"""The `hrkd` command: the app, and the one place where exceptions become messages and exit codes.

Exit codes: 0 done, 1 unexpected error (with its traceback), 2 an error the user can act on, 3 budget missed,
130 stopped by Ctrl-C. Nothing heavy is imported here: each command imports what it needs when it runs.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from hrkd import __version__
from hrkd.errors import HrkdError, MissingExtraError
from hrkd_cli.commands import (
    bench,
    bundle,
    data,
    distill,
    doctor,
    evaluate,
    export,
    plan,
    predict,
    recipe,
    report,
    run,
    teacher,
)
from hrkd_cli.extras import extra_of
from hrkd_cli.output import print_error

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
_REFUSALS = (errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
"""What only the user can change about a path. A file that is not there may be a bug of ours; where it is an output,
`hrkd.artifact` says so."""

app = typer.Typer(
    name="hrkd",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (run, teacher, distill, evaluate, export, plan, predict, report, doctor):
    app.command(module.__name__.rpartition(".")[2], epilog=module.EXAMPLES)(module.command)
app.add_typer(bench.app, name="bench")
app.add_typer(bundle.app, name="bundle")
app.add_typer(data.app, name="data")
app.add_typer(recipe.app, name="recipe")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hrkd {__version__}")
        raise typer.Exit


@app.callback()
def _hrkd(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Distil a multi-domain text classifier, export it to ONNX, quantise it, and prove it on the device."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; errors of the user become one clear message.

    Args:
        argv: Arguments after the program's name; the process's own when left out.
    """
    try:
        app(args=None if argv is None else list(argv), prog_name="hrkd")
    except SystemExit as error:
        return _exit_code(error)
    except HrkdError as error:
        print_error(error.message, error.hint)
        return error.exit_code
    except ModuleNotFoundError as error:
        return _missing_module(error)
    except OSError as error:
        return _system_error(error)
    return 0


def _exit_code(error: SystemExit) -> int:
    """Take over the exit code of the command-line library, which turns Ctrl-C into 130 without a word."""
    if error.code == EXIT_INTERRUPTED:
        print_error("interrupted", "finished stages are kept; the same command goes on from there")
    if isinstance(error.code, str):
        print_error(error.code)
        return 1
    return error.code or 0


def _missing_module(error: ModuleNotFoundError) -> int:
    extra = extra_of(error)
    if extra is None:
        raise error
    missing = MissingExtraError(f"this command (module `{error.name}`)", extra)
    print_error(missing.message, missing.hint)
    return missing.exit_code


def _system_error(error: OSError) -> int:
    if error.errno == errno.ENAMETOOLONG:  # Path.exists() and is_file() raise it instead of answering no
        print_error(f"`{str(error.filename)[:40]}...` cannot be a path: the name is too long")
        return EXIT_USER_ERROR
    if error.errno in _REFUSALS and error.filename:
        print_error(f"`{error.filename}` cannot be used: {error.strerror}", "check the path and its permissions")
        return EXIT_USER_ERROR
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        raise error
    where = f" while writing `{error.filename}`" if error.filename else ""
    print_error(
        f"no space left on device{where}", "free some space and run the same command again; finished stages are kept"
    )
    _drop_unwritable_output()
    return EXIT_USER_ERROR


def _drop_unwritable_output() -> None:
    """Send what stdout could not take to nowhere: Python would try again at its exit, and change the exit code."""
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


if __name__ == "__main__":
    sys.exit(main())

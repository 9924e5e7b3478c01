"""The exceptions a user can cause, as one tree.

::

    HrkdError                  anything the user can act on; the command line prints it and exits with 2
    +-- RecipeError            the recipe file: unknown key, wrong value, values that contradict each other
    +-- DataError              a data set: missing file, wrong column, one-class domain, unreadable text
    +-- CheckpointError        a model folder: missing, damaged, of another architecture
    +-- ArtifactError          a run folder or a bundle: changed byte, newer schema, would be overwritten
    +-- ExportError            the ONNX graph could not be built, verified or quantised
    +-- BenchError             a measurement could not be made
    +-- BudgetError            a budget or a grid of shapes cannot be read
    +-- BudgetMissed           a limit is missed, or cannot be shown to hold (exit code 3)
    +-- DistributedError       several processes that train as one do not fit together, or one of them is gone
    +-- MissingExtraError      a command needs an optional part of the installation
    +-- Interrupted            the user stopped the run; what was finished is kept (exit code 130)

Every other exception is a bug and keeps its traceback.
"""

from __future__ import annotations


class HrkdError(Exception):
    """Base of all errors that a user can act on.

    Args:
        message: What is wrong, with the offending value, and where. Lower-case start, no final period.
        hint: What to do about it, shown on a line of its own.
    """

    exit_code = 2

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\nhint: {self.hint}"


class RecipeError(HrkdError):
    """The recipe cannot be used as written."""


class DataError(HrkdError):
    """A data set cannot be used as it is."""


class CheckpointError(HrkdError):
    """A model folder is missing, damaged, or does not fit."""


class ArtifactError(HrkdError):
    """A run folder or bundle is damaged, of an unknown schema, or would be overwritten."""


class ExportError(HrkdError):
    """The ONNX graph could not be built, verified or quantised."""


class BenchError(HrkdError):
    """A measurement could not be made."""


class BudgetError(HrkdError):
    """A budget or a grid of shapes cannot be used as written."""


class BudgetMissed(HrkdError):
    """A measured limit is missed, or the measurement does not show that it holds."""

    exit_code = 3


class DistributedError(HrkdError):
    """Processes that train as one do not fit together, or cannot reach each other."""


class MissingExtraError(HrkdError):
    """A command needs packages of an extra that is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f"{what} needs packages that are not installed",
            hint=f"pip install 'hrkd[{extra}]'",
        )


class Interrupted(HrkdError):
    """The user stopped the run between two steps; a checkpoint was written first."""

    exit_code = 130


def first_line(error: BaseException) -> str:
    """Return the first line of another library's message: the part that fits into one of ours."""
    return str(error).strip().split("\n", 1)[0]

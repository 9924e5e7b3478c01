"""One thing that was looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "note", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found.

    Attributes:
        topic: What was looked at.
        status: ``note`` is worth knowing, ``problem`` stops a command from working.
        text: What was found.
        hint: What to do about it.
    """

    topic: str
    status: Status
    text: str
    hint: str | None = None

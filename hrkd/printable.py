"""Text from elsewhere on a terminal, which obeys some characters: it moves, copies, or shows other words.

Line ends and tabs are fine in words for a person, and never in a name.
"""

from __future__ import annotations

import re

_DIRECTION = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_OBEYED = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{_DIRECTION}]")
_NOT_IN_NAMES = re.compile(f"[\x00-\x1f\x7f-\x9f\u2028\u2029{_DIRECTION}]")


def printable(text: str) -> str:
    """Return a text without the characters that a terminal would obey, line ends and tabs kept."""
    return _OBEYED.sub("", text)


def is_printable_name(name: str) -> bool:
    """Whether a name holds no control character, line end, or character that turns the direction of text."""
    return _NOT_IN_NAMES.search(name) is None

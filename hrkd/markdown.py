"""Text from elsewhere inside Markdown: shown as it is, and nothing more."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

LONGEST = 200
"""Characters of a foreign text that are shown."""
_SPECIAL = re.compile(r"[\\`*_{}\[\]<>#|~&$@]")
_STARTS_LINK = re.compile(r"(?i)://|\bwww\.")


def escape(text: str) -> str:
    """Return one line that Markdown shows as ``text``: no markup, link, HTML, formula or table cell comes of it.

    Never begin a line with it: there, digits and dashes would make a list.
    """
    escaped = _SPECIAL.sub(lambda match: f"\\{match[0]}", one_line(text))
    return _STARTS_LINK.sub(lambda match: match[0].replace(".", "\\.").replace(":", "\\:"), escaped) or "(empty)"


def one_line(text: str) -> str:
    """Return a text without line breaks, cut where it is long.

    Characters that cannot be seen (controls, text direction, unassigned) are replaced: a terminal would obey them.
    """
    seen = "".join(_visible(character) for character in text[:LONGEST]) + ("…" if len(text) > LONGEST else "")
    return " ".join(seen.split())


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table, the first column to the left and the others to the right; cells are Markdown already."""
    rule = ["---", *(["---:"] * (len(header) - 1))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, rule, *rows))


def _visible(character: str) -> str:
    kind = unicodedata.category(character)
    if kind[0] == "Z" or character in "\t\n\r":
        return " "
    return "\N{REPLACEMENT CHARACTER}" if kind[0] == "C" else character

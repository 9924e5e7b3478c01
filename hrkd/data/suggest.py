"""Advice for a name that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return ``did you mean `x`?``, or the list of what exists when nothing is close."""
    names = [str(candidate) for candidate in known]
    lowered = {candidate.lower(): candidate for candidate in names}
    close = difflib.get_close_matches(name.lower(), list(lowered), n=1)
    if close:
        return f"did you mean `{lowered[close[0]]}`? there are: {', '.join(names)}"
    return f"there are: {', '.join(names) or 'none'}"

"""Strategies that damage good input: nested values, texts and bytes, each a little, at places and in ways drawn."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

HOSTILE_TEXTS = (
    "",
    " ",
    ".",
    "..",
    "../canary.txt",
    "/canary-of-the-root",
    "a/b",
    "a\\b",
    "a\0b",
    "\ud800",
    "\u202e",
    "é" * 300,
    "x" * 5000,
    "<script>",
    "{{7*7}}",
    "%s%n",
    "null",
    "~",
    "!!python/object/apply:os.system [id]",
    "&a [*a]",
    "nan",
    "-0",
    "1e999",
    "9" * 400,
)
HOSTILE_NUMBERS = (0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf"), True)

texts = st.one_of(st.sampled_from(HOSTILE_TEXTS), st.text(max_size=20))
scalars = st.one_of(st.none(), st.sampled_from(HOSTILE_NUMBERS), st.integers(), st.floats(), texts)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=4,
)
HOSTILE_BYTES = (
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\x80",
    b"\r",
    b"\n",
    b'"',
    b"'",
    b",",
    b"\t",
    b"{",
    b"[" * 2000,
    b'{"a":' * 2000,
    b"PK\x05\x06" + b"\0" * 18,
    b"PAR1",
    b"<review>",
    b"</review_text>",
    b"\xed\xa0\x80",
    b"NaN",
    b"9" * 5000,
)


@st.composite
def damaged(draw: st.DrawFn, value: Any) -> Any:
    """Return a copy of nested dicts and lists with one to three places changed."""
    changed = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        node, key = _place(draw, changed)
        if node is None:
            return draw(values)
        way = draw(st.sampled_from(("replace", "replace", "replace", "remove", "rename", "wrap", "nudge")))
        _change(draw, node, key, way)
    return changed


def _place(draw: st.DrawFn, value: Any) -> tuple[Any, Any]:
    """Return a drawn container inside ``value``, and a key of it."""
    node, key = None, None
    inner = value
    while isinstance(inner, (dict, list)) and inner:
        node = inner
        key = draw(st.sampled_from(sorted(node, key=str))) if isinstance(node, dict) else draw(_index(node))
        inner = node[key]
        if draw(st.integers(0, 3)) == 0:
            break
    return node, key


def _index(values: Sequence[Any]) -> st.SearchStrategy[int]:
    return st.integers(0, len(values) - 1)


def _change(draw: st.DrawFn, node: Any, key: Any, way: str) -> None:
    if way == "remove":
        del node[key]
    elif way == "rename" and isinstance(node, dict):
        node[draw(texts)] = node.pop(key)
    elif way == "wrap":
        node[key] = [node[key]]
    elif way == "nudge" and isinstance(node[key], (int, float)):
        node[key] = node[key] * draw(st.sampled_from((-1, 0, 2, 10**6, 0.5)))
    else:
        node[key] = draw(values)


@st.composite
def damaged_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """Return bytes with one to four ranges overwritten, removed, repeated or inserted, or the end cut off."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(changed)))
        end = min(len(changed), start + draw(st.sampled_from((1, 2, 4, 16, 64, 512))))
        way = draw(st.sampled_from(("flip", "insert", "remove", "repeat", "cut", "overwrite")))
        if way == "flip" and start < len(changed):
            changed[start] ^= 1 << draw(st.integers(0, 7))
        elif way == "insert":
            changed[start:start] = draw(_snippets)
        elif way == "remove":
            del changed[start:end]
        elif way == "repeat":
            changed[start:start] = changed[start:end]
        elif way == "cut":
            del changed[start:]
        else:
            changed[start:end] = draw(_snippets)
    return bytes(changed)


_snippets = st.one_of(st.sampled_from(HOSTILE_BYTES), st.binary(max_size=12))

"""Dataclasses from JSON of strangers: what has another shape is refused, and the complaint names the key."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest

from hrkd.shape import Minimum, ShapeError, from_json, to_json


@dataclass(frozen=True, kw_only=True)
class Part:
    size: int
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class Whole:
    name: str
    kind: Literal["a", "b", 2]
    ratio: float
    flag: bool
    names: Annotated[tuple[str, ...], Minimum(1)]
    count: Annotated[int, Minimum(1)]
    parts: dict[str, Part]
    by_number: dict[int, list[float]]
    mixed: dict[str, str | float | int | None]
    settings: dict[str, int | bool | str]
    maybe: Part | None = None


GOOD: dict[str, Any] = {
    "name": "naïve",
    "kind": "a",
    "ratio": 1,
    "flag": True,
    "names": ["x"],
    "count": 1,
    "parts": {"one": {"size": 3}},
    "by_number": {"7": [1, 2.5]},
    "mixed": {"a": 1, "b": 1.5, "c": "t", "d": None},
    "settings": {"a": True, "b": 1, "c": "1"},
}


def test_reads_and_writes_back() -> None:
    """Prevents a number from changing its type on the way: 1 and true, or 1 and 1.0, say different things."""
    whole = from_json(Whole, GOOD)
    assert whole.parts == {"one": Part(size=3)}
    assert whole.names == ("x",)
    assert whole.by_number == {7: [1.0, 2.5]}
    assert [type(value) for value in whole.mixed.values()] == [int, float, str, type(None)]
    assert [type(value) for value in whole.settings.values()] == [bool, int, str]
    assert type(whole.ratio) is float
    assert from_json(Whole, json.loads(json.dumps(to_json(whole)))) == whole


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"surprise": 1}, "`surprise`: Extra inputs are not permitted"),
        ({"a\x1b[2J`\n" + "x" * 100: 1}, r"`a\\x1b\[2J`\\nx+`: Extra"),
        ({"name": ...}, "`name`: Field required"),
        ({"name": 1}, "`name`: Input should be a string"),
        ({"name": "\ud800"}, "`name`: Input should be valid Unicode"),
        ({"kind": "c"}, "`kind`: Input should be 'a' or 'b' or 2"),
        ({"kind": 2.0}, "`kind`"),
        ({"ratio": "1"}, "`ratio`: Input should be a number"),
        ({"ratio": True}, "`ratio`"),
        ({"ratio": float("nan")}, "`ratio`: Input should be a finite number"),
        ({"ratio": float("inf")}, "`ratio`: Input should be a finite number"),
        ({"ratio": 10**400}, "`ratio`: Input should be a finite number"),
        ({"flag": 1}, "`flag`: Input should be true or false"),
        ({"names": []}, "`names`: Input should have at least 1"),
        ({"names": "x"}, "`names`: Input should be a list"),
        ({"names": ["x", None]}, r"`names\.1`: Input should be a string"),
        ({"count": 0}, "`count`: Input should be at least 1"),
        ({"count": True}, "`count`: Input should be a whole number"),
        ({"count": 1.0}, "`count`: Input should be a whole number"),
        ({"parts": []}, "`parts`: Input should be an object"),
        ({"parts": {"one": {"size": "3"}}}, r"`parts\.one\.size`"),
        ({"parts": {"one": {"size": 3, "more": 1}}}, r"`parts\.one\.more`: Extra"),
        ({"parts": {"\udfff": {"size": 3}}}, "half a character"),
        ({"by_number": {"x": []}}, r"`by_number\.x`: Input should be a whole number as key"),
        ({"by_number": {"1": [None]}}, r"`by_number\.1\.0`"),
        ({"mixed": {"a": [1]}}, r"`mixed\.a`: Input should be a string or a number or a whole number or null"),
        ({"maybe": {"size": None}}, r"`maybe\.size`: Input should be a whole number"),
        ({"maybe": 3}, "`maybe`"),
    ],
)
def test_another_shape_is_refused(changes: dict[str, Any], complaint: str) -> None:
    """Prevents a manifest of a stranger from failing deep in the runtime, or being half understood."""
    value = {key: item for key, item in {**GOOD, **changes}.items() if item is not ...}
    with pytest.raises(ShapeError, match=complaint) as caught:
        from_json(Whole, value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("value", [None, [], "text", 3])
def test_what_is_no_object_is_refused(value: Any) -> None:
    """Prevents an attribute error as the answer to a file that holds something else."""
    with pytest.raises(ShapeError, match="Input should be an object"):
        from_json(Whole, value)

"""Frozen dataclasses to and from JSON, with a dataclass as the only description of its shape.

Strict where JSON comes from elsewhere: unknown keys, missing keys, wrong types, numbers that are none, and text that
no file can hold are refused, and the complaint names the key. The standard library alone: a device that runs a bundle
has nothing else, and starts faster without.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Shape = TypeVar("Shape")
Read = Callable[[Any, Any, str], Any]
"""Reads a value of a type that this module does not know: type, value, place; returns NotImplemented for another."""
Write = Callable[[Any], Any]
"""Writes a value of such a type; returns NotImplemented for another."""


@dataclass(frozen=True, slots=True)
class Minimum:
    """Annotation: the smallest number, or the smallest length of a sequence."""

    least: int


class ShapeError(Exception):
    """A value does not have its shape.

    Attributes:
        where: The keys that lead to it, joined by dots.
        problem: What is wrong.
    """

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"`{where}`: {problem}")
        self.where = where
        self.problem = problem


def to_json(value: Any, other: Write | None = None) -> Any:
    """Return a dataclass as what `json` writes: objects, lists and plain values.

    Args:
        value: The dataclass.
        other: Writes values beyond these.
    """
    if other is not None and (written := other(value)) is not NotImplemented:
        return written
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name), other) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_json(item, other) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(item, other) for item in value]
    return value


def from_json(kind: type[Shape], value: Any, where: str = "", other: Read | None = None) -> Shape:
    """Return the dataclass that a JSON object describes.

    Args:
        kind: The dataclass. Its fields are plain values, literals, tuples, lists, mappings, unions and dataclasses.
        value: The loaded object.
        where: The keys that lead to it.
        other: Reads types beyond these.

    Raises:
        ShapeError: The object has another shape.
    """
    if not isinstance(value, dict):
        raise ShapeError(where, "Input should be an object")
    hints = _hints(kind)  # type: ignore[arg-type]  # a class is hashable, which its type does not say
    for key in value:
        if key not in hints:
            raise ShapeError(_join(where, _shown(key)), "Extra inputs are not permitted")
    found = {}
    for field in fields(kind):  # type: ignore[arg-type]  # a dataclass, which a TypeVar cannot say
        if field.name in value:
            found[field.name] = _read(hints[field.name], value[field.name], _join(where, field.name), other)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ShapeError(_join(where, field.name), "Field required")
    return kind(**found)


def _read(hint: Any, value: Any, where: str, other: Read | None) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if other is not None:
        read = other(hint, value, where)
        if read is not NotImplemented:
            return read
    if hint is Any:
        return value
    if origin is Annotated:
        return _at_least(_read(args[0], value, where, other), args[1], where)
    if origin is Literal:
        return _literal(args, value, where)
    if origin in (Union, types.UnionType):
        return _one_of(args, value, where, other)
    if origin in (tuple, list, Sequence):
        return _items(origin, args[0], value, where, other)
    if origin in (dict, Mapping):
        return _entries(args, value, where, other)
    if is_dataclass(hint):
        return from_json(hint, value, where, other)  # type: ignore[arg-type]  # is_dataclass also takes instances
    return _plain(hint, value, where)


def _plain(kind: type[Any], value: Any, where: str) -> Any:
    if kind is float and type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise ShapeError(where, "Input should be a finite number") from None
    if type(value) is not kind:  # nor a subclass: a truth value is no number
        raise ShapeError(where, f"Input should be {_NAMES.get(kind, kind.__name__)}")
    if kind is float and not math.isfinite(value):
        raise ShapeError(where, "Input should be a finite number")
    if kind is str and not _is_unicode(value):
        raise ShapeError(where, "Input should be valid Unicode: it holds half a character")
    return value


_NAMES = {str: "a string", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}


def _literal(allowed: tuple[Any, ...], value: Any, where: str) -> Any:
    if not any(type(value) is type(one) and value == one for one in allowed):
        raise ShapeError(where, f"Input should be {' or '.join(map(repr, allowed))}")
    return value


def _one_of(kinds: tuple[Any, ...], value: Any, where: str, other: Read | None) -> Any:
    """Read a union: the member of exactly the value's type before one that would convert it."""
    for kind in sorted(kinds, key=lambda kind: kind is not type(value)):
        try:
            return _read(kind, value, where, other)
        except ShapeError as error:
            # The complaint of the one member that holds items of its own says more than a list of types.
            container = dict if is_dataclass(kind) else get_origin(kind)
            if isinstance(value, dict | list) and isinstance(value, list if container is tuple else container or ()):
                raise
            problem = error.problem
    wanted = [_NAMES.get(kind, "") for kind in kinds]
    raise ShapeError(where, f"Input should be {' or '.join(wanted)}" if all(wanted) else problem)


def _items(origin: Any, kind: Any, value: Any, where: str, other: Read | None) -> Any:
    if not isinstance(value, list):
        raise ShapeError(where, "Input should be a list")
    items = [_read(kind, item, _join(where, str(number)), other) for number, item in enumerate(value)]
    return tuple(items) if origin is tuple else items


def _entries(args: tuple[Any, ...], value: Any, where: str, other: Read | None) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise ShapeError(where, "Input should be an object")
    entries = {}
    for key, item in value.items():
        place = _join(where, _shown(key))
        if not _is_unicode(key):
            raise ShapeError(place, "Input should be valid Unicode: it holds half a character")
        if args[0] is int and not (key.isascii() and key.isdigit()):
            raise ShapeError(place, "Input should be a whole number as key")
        entries[int(key) if args[0] is int else key] = _read(args[1], item, place, other)
    return entries


def _at_least(value: Any, limit: Minimum, where: str) -> Any:
    if not isinstance(value, int | float) and len(value) < limit.least:
        raise ShapeError(where, f"Input should have at least {limit.least} item(s)")
    if isinstance(value, int | float) and value < limit.least:
        raise ShapeError(where, f"Input should be at least {limit.least}")
    return value


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _shown(key: str) -> str:
    return ascii(key)[1:-1][:60]


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key

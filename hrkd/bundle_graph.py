"""What an ONNX file may reach: nothing but itself. Read field by field, because a device has no `onnx` package.

An ONNX tensor may name another file that holds its weights, and not every onnxruntime refuses ``../``, absolute
paths and links (1.19 opens them, 1.32 does not). Bundles have no such tensors, so any at all is refused. Operators
come from the sets that are built into the engines; others would need a library that is loaded beside them.

Only the structure is walked: the bytes of weights are jumped over, so that large files cost little.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

from hrkd.errors import ArtifactError, first_line

DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
"""Operator sets whose implementation is part of the engines."""
OUTSIDE_OPERATORS = frozenset({"EPContext"})
"""Operators of these sets that name a file or carry a compiled program."""
DEPTH_LIMIT = 100
"""Levels of nesting that are walked; Protocol Buffers' own limit is 100 messages."""
FIELD_LIMIT = 2_000_000
"""Fields that are walked: ten times those of a large encoder, and seconds of work at most."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}


class _Message(StrEnum):
    MODEL = "ModelProto"
    GRAPH = "GraphProto"
    NODE = "NodeProto"
    ATTRIBUTE = "AttributeProto"
    TENSOR = "TensorProto"
    SPARSE_TENSOR = "SparseTensorProto"
    FUNCTION = "FunctionProto"
    TRAINING = "TrainingInfoProto"


_PARTS: Mapping[_Message, Mapping[int, _Message]] = MappingProxyType(
    {
        _Message.MODEL: {7: _Message.GRAPH, 20: _Message.TRAINING, 25: _Message.FUNCTION},
        _Message.GRAPH: {1: _Message.NODE, 5: _Message.TENSOR, 15: _Message.SPARSE_TENSOR},
        _Message.NODE: {5: _Message.ATTRIBUTE},
        _Message.ATTRIBUTE: {
            5: _Message.TENSOR,
            6: _Message.GRAPH,
            10: _Message.TENSOR,
            11: _Message.GRAPH,
            22: _Message.SPARSE_TENSOR,
            23: _Message.SPARSE_TENSOR,
        },
        _Message.TENSOR: {},
        _Message.SPARSE_TENSOR: {1: _Message.TENSOR, 2: _Message.TENSOR},
        _Message.FUNCTION: {7: _Message.NODE, 11: _Message.ATTRIBUTE},
        _Message.TRAINING: {1: _Message.GRAPH, 2: _Message.GRAPH},
    }
)
"""Fields that hold messages in which a tensor or a node can stand, by number (onnx.proto)."""
_TENSOR_NAME, _EXTERNAL_DATA, _DATA_LOCATION = 8, 13, 14
_NODE_OPERATOR, _NODE_DOMAIN = 4, 7
_GRAPH_OF_MODEL = 7


@dataclass(frozen=True, slots=True)
class _Field:
    """One field of a message: ``value`` is a number, or the bounds of the bytes are ``start`` and ``end``."""

    number: int
    wire_type: int
    value: int
    start: int
    end: int


class _DamagedError(Exception):
    """The bytes are no Protocol Buffers message."""


def check_graph(path: Path) -> None:
    """Refuse an ONNX file that reaches outside itself.

    Raises:
        ArtifactError: The file is no ONNX, a tensor's data lie outside it, or an operator is not a built-in one.
    """
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            _Walk(path, data).model()
    except (_DamagedError, ValueError) as error:  # ValueError: an empty file
        raise ArtifactError(
            f"`{path}` is not an ONNX file: {first_line(error)}", hint="export the bundle again"
        ) from error


class _Walk:
    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self._path = path
        self._data = data
        self._walked = 0

    def model(self) -> None:
        fields = list(self._fields(0, len(self._data)))
        if not any(field.number == _GRAPH_OF_MODEL and field.wire_type == _BYTES for field in fields):
            raise _DamagedError("it holds no graph")
        for field in fields:
            self._descend(_Message.MODEL, field, 1)

    def _message(self, kind: _Message, start: int, end: int, depth: int) -> None:
        if depth > DEPTH_LIMIT:
            raise _DamagedError(f"nested deeper than {DEPTH_LIMIT} levels")
        fields = list(self._fields(start, end))
        if kind is _Message.TENSOR:
            self._check_tensor(fields)
        elif kind is _Message.NODE:
            self._check_node(fields)
        for field in fields:
            self._descend(kind, field, depth)

    def _descend(self, kind: _Message, field: _Field, depth: int) -> None:
        part = _PARTS[kind].get(field.number)
        if part is not None and field.wire_type == _BYTES:
            self._message(part, field.start, field.end, depth + 1)

    def _check_tensor(self, fields: list[_Field]) -> None:
        # Any location but 0, "in this file", counts: readers differ in how they cut an overlong number.
        outside = [
            field
            for field in fields
            if field.number == _EXTERNAL_DATA or (field.number == _DATA_LOCATION and field.value != 0)
        ]
        if outside:
            raise ArtifactError(
                f"`{self._path}`: the data of tensor {self._text(fields, _TENSOR_NAME)!a} lie outside the file",
                hint="a bundle's graph is one file; do not use it, and export the bundle again",
            )

    def _check_node(self, fields: list[_Field]) -> None:
        domain, operator = self._text(fields, _NODE_DOMAIN), self._text(fields, _NODE_OPERATOR)
        if domain not in DOMAINS or operator in OUTSIDE_OPERATORS:
            raise ArtifactError(
                f"`{self._path}`: operator {operator!a} of {domain!a} is not built into the engines",
                hint="it may load other code; do not use it, and export the bundle again",
            )

    def _text(self, fields: list[_Field], number: int) -> str:
        """Return a text field: of several, the last one counts."""
        found = [field for field in fields if field.number == number and field.wire_type == _BYTES]
        return self._data[found[-1].start : found[-1].end].decode("utf-8", "replace") if found else ""

    def _fields(self, start: int, end: int) -> Iterator[_Field]:
        position = start
        while position < end:
            self._walked += 1
            if self._walked > FIELD_LIMIT:
                raise _DamagedError(f"it has more than {FIELD_LIMIT} fields")
            tag, position = self._varint(position, end)
            number, wire_type = tag >> 3, tag & 7
            if not 0 < number < 1 << 29:
                raise _DamagedError(f"field number {number} at byte {position}")
            if wire_type == _VARINT:
                value, position = self._varint(position, end)
                yield _Field(number, wire_type, value, position, position)
                continue
            if wire_type == _BYTES:
                length, position = self._varint(position, end)
            elif wire_type in _FIXED_SIZES:
                length = _FIXED_SIZES[wire_type]
            else:
                raise _DamagedError(f"unknown kind of field at byte {position}")
            if length > end - position:
                raise _DamagedError(f"cut off at byte {position}")
            yield _Field(number, wire_type, 0, position, position + length)
            position += length

    def _varint(self, position: int, end: int) -> tuple[int, int]:
        """Read a number of 7 bits per byte, and return it with the position behind it."""
        value = 0
        for shift in range(0, 70, 7):
            if position >= end:
                raise _DamagedError(f"cut off at byte {position}")
            byte = self._data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, position
        raise _DamagedError(f"overlong number at byte {position}")

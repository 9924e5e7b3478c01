"""Texts that stay on disk: columns of memory-mapped Arrow files that look like tuples of strings.

The kernel reads the pages that are asked for and forgets them when memory is short, so a corpus may be larger than it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow

Texts = Sequence[str]
"""A tuple in memory, or :class:`StoredTexts`."""
_READ_AT_ONCE = 256


class StoredTexts(Sequence[str]):
    """Strings in Arrow arrays, in the order of ``indices``.

    Args:
        chunks: Arrays of strings one after the other, memory-mapped or not.
        indices: Which of them, shape (n,); all when left out.
    """

    def __init__(self, chunks: Sequence[pyarrow.Array], indices: NDArray[np.int64] | None = None) -> None:
        self._chunks = tuple(chunks)
        self._starts = np.cumsum([0, *map(len, self._chunks)])
        self._indices = indices

    def __len__(self) -> int:
        return int(self._starts[-1]) if self._indices is None else len(self._indices)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        if isinstance(index, slice):
            return tuple(self._read(range(len(self))[index]))
        return next(self._read([range(len(self))[index]]))

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _READ_AT_ONCE):
            yield from self._read(range(len(self))[start : start + _READ_AT_ONCE])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(own == its for own, its in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def select(self, indices: NDArray[np.int64]) -> StoredTexts:
        """Return the texts at ``indices``, shape (m,), in that order, without reading any."""
        return StoredTexts(self._chunks, indices if self._indices is None else self._indices[indices])

    def followed_by(self, other: StoredTexts) -> StoredTexts:
        """Return these texts and then the others, without reading any."""
        first, second = (np.arange(len(texts)) if texts._indices is None else texts._indices for texts in (self, other))
        indices = np.concatenate([first, second + self._starts[-1]])
        return StoredTexts((*self._chunks, *other._chunks), indices)

    def _read(self, places: Sequence[int]) -> Iterator[str]:
        rows = np.asarray(places, dtype=np.int64) if self._indices is None else self._indices[np.asarray(places, int)]
        chunks = np.searchsorted(self._starts, rows, side="right") - 1
        for chunk, row in zip(chunks.tolist(), (rows - self._starts[chunks]).tolist(), strict=True):
            yield self._chunks[chunk][row].as_py()


def select_texts(texts: Texts, indices: NDArray[np.int64]) -> Texts:
    """Return the texts at ``indices``, shape (m,), in that order, where they are: in memory or on disk."""
    return texts.select(indices) if isinstance(texts, StoredTexts) else tuple(texts[index] for index in indices)


def join_texts(first: Texts, second: Texts) -> Texts:
    """Return both, one after the other; on disk if one of them is."""
    if not isinstance(first, StoredTexts) and not isinstance(second, StoredTexts):
        return (*first, *second)
    return _stored(first).followed_by(_stored(second))


def _stored(texts: Texts) -> StoredTexts:
    if isinstance(texts, StoredTexts):
        return texts
    import pyarrow

    return StoredTexts([pyarrow.array(list(texts), pyarrow.string())])

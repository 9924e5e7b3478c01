"""Yes or no for every test text, as a short string: hexadecimal digits of the packed bits, first text first."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def pack(flags: ArrayLike) -> str:
    """Return flags (n,) as hexadecimal digits, two for every eight; the last byte is filled with zeros."""
    return np.packbits(np.asarray(flags, dtype=np.bool_)).tobytes().hex()


def unpack(digits: str, size: int) -> NDArray[np.bool_]:
    """Return the ``size`` flags of :func:`pack`.

    Raises:
        ValueError: The string is no hexadecimal number, or is not of that size.
    """
    content = np.frombuffer(bytes.fromhex(digits), dtype=np.uint8)
    if len(content) != -(-size // 8):
        raise ValueError(f"{8 * len(content)} bits instead of {size}")
    flags = np.unpackbits(content)
    if flags[size:].any():
        raise ValueError(f"bits are set beyond the {size}th")
    return flags[:size].astype(np.bool_)

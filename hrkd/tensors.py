"""Tensors on disk: safetensors, with errors that say what happened."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from hrkd.errors import CheckpointError


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors of any device to a safetensors file.

    Raises:
        OSError: It cannot be written; a full disk is ENOSPC, which the library alone reports as an error of its own.
    """
    try:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)
    except SafetensorError as error:
        found = re.search(r"os error (\d+)", str(error))
        number = int(found[1]) if found else errno.EIO
        raise OSError(number, os.strerror(number), str(path)) from error


def load_tensors(path: Path, *, hint: str) -> dict[str, Tensor]:
    """Read a safetensors file to the CPU.

    Args:
        path: The file.
        hint: What the user can do when it is damaged.

    Raises:
        CheckpointError: It is missing or damaged.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"`{path}` cannot be read: {error}", hint=hint) from error

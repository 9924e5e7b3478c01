"""Tensor files: a full disk and a damaged file each say what they are."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

import hrkd.tensors
from hrkd.errors import CheckpointError
from hrkd.tensors import load_tensors, save_tensors


def test_tensors_come_back_equal(tmp_path: Path) -> None:
    """A view saved without its own storage comes back as something else."""
    tensors = {"view": torch.arange(12.0).reshape(3, 4).T, "half": torch.ones(2, dtype=torch.bfloat16)}
    save_tensors(tensors, tmp_path / "x.safetensors")
    loaded = load_tensors(tmp_path / "x.safetensors", hint="")
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(loaded[name], tensor)


def test_a_full_disk_is_an_os_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The library's own error is a bug to the command line: a traceback instead of "no space left on device"."""

    def full(*_arguments: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(hrkd.tensors, "save_file", full)
    with pytest.raises(OSError, match="No space left") as caught:
        save_tensors({}, tmp_path / "x.safetensors")
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize("content", [None, b"", b"not safetensors"])
def test_a_missing_or_damaged_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """With the hint of the caller, who knows what the file was for."""
    path = tmp_path / "x.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot be read") as caught:
        load_tensors(path, hint="start over")
    assert caught.value.hint == "start over"

"""One output file: complete or absent, and never another's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hrkd.errors import ArtifactError
from hrkd.output_file import new_file


def test_a_finished_file_appears_under_its_name(tmp_path: Path) -> None:
    """Prevents an output that stays under its temporary name, or lacks its last block."""
    target = tmp_path / "new" / "out.bin"
    with new_file(target) as stream:
        stream.write(b"content")
        assert not target.exists()
    assert target.read_bytes() == b"content"
    assert [path.name for path in target.parent.iterdir()] == ["out.bin"]


@pytest.mark.parametrize("replace", [False, True])
def test_a_broken_write_leaves_everything_as_it_was(tmp_path: Path, replace: bool) -> None:
    """Prevents half a file, a lost older one, and litter beside it."""
    target = tmp_path / "out.bin"
    if replace:
        target.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        interrupted(target, replace)
    assert [path.name for path in tmp_path.iterdir()] == (["out.bin"] if replace else [])
    assert not replace or target.read_bytes() == b"old"


def test_an_existing_file_is_only_replaced_when_asked(tmp_path: Path) -> None:
    """Prevents a result from being lost to a repeated command; also when it appears while the new one is made."""
    target = tmp_path / "out.bin"
    with pytest.raises(ArtifactError, match="exists already"):
        overtaken(target)
    assert target.read_bytes() == b"theirs"
    with pytest.raises(ArtifactError, match="exists already"), new_file(target):
        pytest.fail("the block must not run")
    with new_file(target, replace=True) as stream:
        stream.write(b"mine")
    assert target.read_bytes() == b"mine"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_is_never_replaced(tmp_path: Path, kind: str) -> None:
    """Prevents `--output /dev/null --overwrite` from replacing the device with a file."""
    target = tmp_path / "out"
    if kind == "folder":
        target.mkdir()
    else:
        os.mkfifo(target)
    with pytest.raises(ArtifactError, match="is not a file"), new_file(target, replace=True):
        pytest.fail("the block must not run")
    assert target.is_dir() or target.is_fifo()


def interrupted(target: Path, replace: bool) -> None:
    with new_file(target, replace=replace) as stream:
        stream.write(b"half")
        raise KeyboardInterrupt


def overtaken(target: Path) -> None:
    with new_file(target) as stream:
        stream.write(b"mine")
        target.write_bytes(b"theirs")

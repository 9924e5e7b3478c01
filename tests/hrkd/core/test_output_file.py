"""One output file: complete or absent, and never another's."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from hrkd.artifact import new_folder, refusals_told, write_json
from hrkd.errors import ArtifactError
from hrkd.output_file import check_target, new_file


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


def test_a_place_that_cannot_be_written_is_refused_before_work(tmp_path: Path, monkeypatch) -> None:
    """Prevents minutes of measuring whose result has nowhere to go."""
    (tmp_path / "file").write_bytes(b"theirs")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    for target in (tmp_path / "file" / "x.json", tmp_path / "file" / "a" / "b.json", tmp_path / "gone" / "x.json"):
        with pytest.raises(ArtifactError, match="is not a folder"):
            check_target(target, replace=True)
    new = tmp_path / "new" / "folder" / "x.json"
    check_target(new, replace=False)
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    with pytest.raises(ArtifactError, match="is read-only"):
        check_target(new, replace=False)
    assert not new.parent.parent.exists()


def write_file(target: Path) -> None:
    with new_file(target):
        pytest.fail("the block must not run")


def make_folder(target: Path) -> None:
    with new_folder(target):
        pytest.fail("the block must not run")


@pytest.mark.parametrize("write", [write_file, make_folder, lambda target: write_json(target, {})])
def test_what_the_system_refuses_is_told_with_the_target(tmp_path: Path, write, monkeypatch) -> None:
    """Prevents a traceback about a temporary name, where a folder became read-only or was removed meanwhile."""
    (tmp_path / "file").write_bytes(b"theirs")
    monkeypatch.setattr("hrkd.output_file.check_target", lambda *_, **__: None)
    target = tmp_path / "file" / "x.json"
    with pytest.raises(ArtifactError) as caught:
        write(target)
    assert caught.value.message.startswith(f"`{target}` cannot be written: ")
    assert caught.value.hint


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOENT])
def test_each_refusal_of_a_place_is_the_users(code: int) -> None:
    """Prevents a read-only or a vanished folder from looking like a bug of ours."""
    with pytest.raises(ArtifactError, match="`x` cannot be written"), refusals_told(Path("x")):
        raise OSError(code, "refused", "x")


def test_a_full_disk_is_no_matter_of_the_place() -> None:
    """Prevents advice to write elsewhere from hiding that the disk is full."""
    with pytest.raises(OSError, match="full"), refusals_told(Path("x")):
        raise OSError(errno.ENOSPC, "full", "x")


def interrupted(target: Path, replace: bool) -> None:
    with new_file(target, replace=replace) as stream:
        stream.write(b"half")
        raise KeyboardInterrupt


def overtaken(target: Path) -> None:
    with new_file(target) as stream:
        stream.write(b"mine")
        target.write_bytes(b"theirs")

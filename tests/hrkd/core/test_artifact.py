"""Files and folders are complete or absent; hashes and stage records notice what changed."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hrkd.artifact import (
    STAGE_RECORD,
    finish_stage,
    hash_of,
    new_folder,
    read_json,
    read_stage,
    verify_files,
    write_json,
    write_text,
)
from hrkd.errors import ArtifactError


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def fail_with_full_disk(*_arguments: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def make_folder(target: Path, fill: Callable[[Path], object], *, replace: bool = False) -> None:
    with new_folder(target, replace=replace) as folder:
        fill(folder)


def fail_half_way(folder: Path, error: type[BaseException] = RuntimeError) -> None:
    (folder / "new").write_text("part")
    raise error


class TestWrite:
    def test_text_and_json_read_back(self, tmp_path: Path) -> None:
        """Another encoding or an escaped character would change texts on the way through a file."""
        value = {"text": "naïve 語\n", "number": 0.1, "none": None}
        write_json(tmp_path / "new" / "value.json", value)
        assert read_json(tmp_path / "new" / "value.json") == value
        assert "語" in (tmp_path / "new" / "value.json").read_text(encoding="utf-8")

    @pytest.mark.parametrize("broken", ["fsync", "replace"])
    def test_a_full_disk_keeps_the_old_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
        """A half-written file under the final name is read by the next stage as if it were whole."""
        write_text(tmp_path / "file", "old")
        monkeypatch.setattr(os if broken == "fsync" else Path, broken, fail_with_full_disk)
        with pytest.raises(OSError, match="No space"):
            write_text(tmp_path / "file", "new")
        assert names(tmp_path) == {"file"}
        assert (tmp_path / "file").read_text() == "old"

    def test_text_that_cannot_be_encoded_leaves_nothing(self, tmp_path: Path) -> None:
        """The encoder fails in the middle of the file, after the first bytes were written."""
        with pytest.raises(UnicodeEncodeError):
            write_text(tmp_path / "file", "good \ud800")
        assert names(tmp_path) == set()

    @pytest.mark.parametrize("number", [math.nan, math.inf])
    def test_what_is_not_json_is_refused_before_writing(self, tmp_path: Path, number: float) -> None:
        """Python writes `NaN` happily; other readers of the document then fail, or read it as null."""
        with pytest.raises(ValueError, match="JSON"):
            write_json(tmp_path / "value.json", {"loss": number})
        assert names(tmp_path) == set()

    @pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"", b"[" * 200_000, b"1" * 5000])
    def test_damaged_json_is_an_error_of_the_user(self, tmp_path: Path, content: bytes) -> None:
        """A truncated or hostile file must name itself instead of ending in a traceback."""
        (tmp_path / "value.json").write_bytes(content)
        with pytest.raises(ArtifactError, match=r"value\.json` is not valid JSON"):
            read_json(tmp_path / "value.json")

    def test_missing_or_unreadable_json_is_an_error_of_the_user(self, tmp_path: Path) -> None:
        """The path in the message is what the user needs to see."""
        with pytest.raises(ArtifactError, match=r"value\.json` does not exist"):
            read_json(tmp_path / "value.json")
        with pytest.raises(ArtifactError, match="cannot be read"):
            read_json(tmp_path)


class TestNewFolder:
    def test_appears_when_the_block_ends(self, tmp_path: Path) -> None:
        """A reader that comes too early must not find a folder in the making."""
        target = tmp_path / "runs" / "target"
        with new_folder(target) as folder:
            (folder / "file").write_text("new")
            assert not target.exists()
            assert folder.parent == target.parent, "renaming is atomic only within one file system"
        assert (target / "file").read_text() == "new"
        assert names(target.parent) == {"target"}

    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
    def test_nothing_is_left_when_the_block_fails(self, tmp_path: Path, error: type[BaseException]) -> None:
        """A stage that died half-way would be taken for a finished one, or its litter fill the disk."""
        with pytest.raises(error):
            make_folder(tmp_path / "target", lambda folder: fail_half_way(folder, error))
        assert names(tmp_path) == set()

    def test_an_existing_target_is_refused_before_the_block(self, tmp_path: Path) -> None:
        """An hour of work must not run first and then find that it may not be kept."""
        (tmp_path / "target").mkdir()
        (tmp_path / "target" / "precious").write_text("mine")
        ran = False
        with pytest.raises(ArtifactError, match="exists already") as caught, new_folder(tmp_path / "target"):
            ran = True
        assert not ran
        assert "--overwrite" in str(caught.value)
        assert names(tmp_path / "target") == {"precious"}

    def test_a_target_that_appears_during_the_block_is_kept(self, tmp_path: Path) -> None:
        """What the user put there meanwhile would vanish without a word."""
        target = tmp_path / "target"

        def appear(_folder: Path) -> None:
            target.mkdir()
            (target / "precious").write_text("mine")

        with pytest.raises(ArtifactError, match="exists already"):
            make_folder(target, appear)
        assert (target / "precious").read_text() == "mine"
        assert names(tmp_path) == {"target"}

    def test_replace_swaps_the_whole_folder(self, tmp_path: Path) -> None:
        """Old files beside new ones would be hashed and shipped as if they belonged together."""
        target = tmp_path / "target"
        target.mkdir()
        (target / "old").write_text("old")
        with new_folder(target, replace=True) as folder:
            (folder / "new").write_text("new")
        assert names(target) == {"new"}
        assert names(tmp_path) == {"target"}

    def test_replace_keeps_the_old_one_when_the_block_fails(self, tmp_path: Path) -> None:
        """The trained model of yesterday must survive the crash of today."""
        target = tmp_path / "target"
        target.mkdir()
        (target / "old").write_text("old")
        with pytest.raises(RuntimeError):
            make_folder(target, fail_half_way, replace=True)
        assert (target / "old").read_text() == "old"
        assert names(tmp_path) == {"target"}

    def test_replace_keeps_the_old_one_when_the_last_rename_fails(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Between the two renames the old folder is only a temporary, which the next run would clear away."""
        target = tmp_path / "target"
        target.mkdir()
        (target / "old").write_text("old")
        rename = Path.rename

        def fail_into_place(path: Path, to: Path) -> Path:
            if to == target and (path / "new").exists():
                fail_with_full_disk()
            return rename(path, to)

        monkeypatch.setattr(Path, "rename", fail_into_place)
        with pytest.raises(OSError, match="No space"):
            make_folder(target, lambda folder: write_text(folder / "new", "new"), replace=True)
        assert (target / "old").read_text() == "old"
        assert names(tmp_path) == {"target"}

    @pytest.mark.skipif(os.name == "nt", reason="Windows cannot sync a folder")
    def test_content_is_on_the_disk_before_it_gets_its_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """After a power cut the name alone may be there: empty weights, and the checkpoint already removed."""
        target, events = tmp_path / "target", list[str]()
        rename, sync = Path.rename, os.fsync

        def record_sync(descriptor: int) -> None:
            sync(descriptor)
            events.append(str(os.fstat(descriptor).st_ino))

        def record_rename(path: Path, to: Path) -> Path:
            events.append(f"to {to.name}")
            return rename(path, to)

        monkeypatch.setattr(os, "fsync", record_sync)
        monkeypatch.setattr(Path, "rename", record_rename)
        with new_folder(target) as folder:
            (folder / "deep").mkdir()
            written = [folder / "weights", folder / "deep" / "weights"]
            for path in written:
                path.write_bytes(b"weights")
            inodes = [str(path.stat().st_ino) for path in (*written, folder / "deep", folder)]
        named = events.index("to target")
        assert set(inodes) <= set(events[:named])
        assert events[named + 1 :] == [str(tmp_path.stat().st_ino)], "the new name itself is not on the disk"

    def test_an_old_folder_is_not_removed_under_the_name_that_is_restored(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Killed while it goes, half of it would come back as if it were the whole model."""
        target, removed = tmp_path / "target", list[str]()
        target.mkdir()
        remove = shutil.rmtree

        def record(path: Path, *, ignore_errors: bool = False) -> None:
            removed.append(path.name)
            remove(path, ignore_errors=ignore_errors)

        monkeypatch.setattr(shutil, "rmtree", record)
        make_folder(target, lambda folder: write_text(folder / "new", "new"), replace=True)
        assert removed
        assert not any("retired" in name for name in removed)
        assert names(tmp_path) == {"target"}


class TestHash:
    def test_is_stable_under_key_order_and_tells_values_apart(self) -> None:
        """A hash over insertion order repeats every stage; one that ignores a value skips a stage it must run."""
        assert hash_of({"a": 1, "b": [1, 2], "c": "ü"}) == hash_of({"c": "ü", "b": [1, 2], "a": 1})
        different = [{"a": 1}, {"a": "1"}, {"a": 1.5}, {"a": None}, {"b": 1}, {"a": [1]}, {"a": [1, 2]}, {"a": [2, 1]}]
        assert len({hash_of(value) for value in different}) == len(different)

    def test_is_the_same_on_every_machine(self) -> None:
        """A change of the canonical form makes every finished stage of every user look stale."""
        written_out = '{"a":[1,0.5,null],"b":"ü"}'
        assert hash_of({"b": "ü", "a": [1, 0.5, None]}) == hashlib.sha256(written_out.encode()).hexdigest()

    @pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
    def test_refuses_what_is_not_json(self, number: float) -> None:
        """NaN differs from itself, so it cannot stand for "the same inputs"."""
        with pytest.raises(ValueError, match="JSON"):
            hash_of({"loss": number})


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    folder = tmp_path / "stage"
    (folder / "deep").mkdir(parents=True)
    (folder / "weights").write_bytes(b"weights")
    (folder / "deep" / "file").write_bytes(b"deep")
    finish_stage(folder, "student", "inputs", {"accuracy": 0.9})
    return folder


class TestStage:
    def test_record_reads_back_and_names_every_file(self, stage: Path) -> None:
        """A file without a hash could be exchanged unnoticed."""
        record = read_stage(stage)
        assert record is not None
        assert (record.stage, record.input_hash, record.details) == ("student", "inputs", {"accuracy": 0.9})
        assert set(record.files) == {"weights", "deep/file"}
        verify_files(stage, record.files)

    def test_output_hash_follows_the_content_only(self, stage: Path) -> None:
        """Details such as timings must not make the next stage stale; a changed byte must."""
        record = read_stage(stage)
        assert record is not None
        assert finish_stage(stage, "student", "other", {"seconds": 3}).output_hash == record.output_hash
        (stage / "weights").write_bytes(b"weightz")
        assert finish_stage(stage, "student", "inputs", {}).output_hash != record.output_hash

    def test_changed_byte_and_missing_file_are_found(self, stage: Path) -> None:
        """Damaged weights still load and still predict."""
        record = read_stage(stage)
        assert record is not None
        (stage / "deep" / "file").write_bytes(b"deeq")
        with pytest.raises(ArtifactError, match="deep/file` was changed"):
            verify_files(stage, record.files)
        (stage / "deep" / "file").unlink()
        with pytest.raises(ArtifactError, match="deep/file` is missing"):
            verify_files(stage, record.files)

    @pytest.mark.parametrize("name", ["../secret", "deep/../../secret", "ABSOLUTE", "link"])
    def test_a_path_outside_is_refused_even_with_the_right_hash(self, stage: Path, name: str) -> None:
        """A manifest from elsewhere must not make us read files of this machine."""
        secret = stage.parent / "secret"
        secret.write_bytes(b"weights")
        (stage / "link").symlink_to(secret)
        record = read_stage(stage)
        assert record is not None
        with pytest.raises(ArtifactError, match="outside the folder"):
            verify_files(stage, {str(secret) if name == "ABSOLUTE" else name: record.files["weights"]})

    @pytest.mark.parametrize("name", ["a\0b", "a" * 5000])
    def test_an_impossible_name_is_an_error_of_the_user(self, stage: Path, name: str) -> None:
        """A manifest from elsewhere must not end in a traceback either."""
        with pytest.raises(ArtifactError, match="cannot exist"):
            verify_files(stage, {name: "0" * 64})

    def test_a_folder_without_a_record_has_none(self, tmp_path: Path) -> None:
        """It is no error: the stage has not run yet."""
        assert read_stage(tmp_path) is None
        assert read_stage(tmp_path / "absent") is None

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            ({"schema_version": 2}, "schema version 2, this hrkd reads 1"),
            ({"schema_version": None}, "schema version None"),
            ({"surprise": 1}, "not a stage record.*surprise"),
            ({"files": None}, "`files` names no hashes"),
            ({"files": {"weights": 1}}, "`files` names no hashes"),
        ],
    )
    def test_a_foreign_record_is_refused(self, stage: Path, change: dict[str, object], problem: str) -> None:
        """A record of a later version may mean something else by the same words."""
        value = json.loads((stage / STAGE_RECORD).read_text())
        (stage / STAGE_RECORD).write_text(json.dumps({**value, **change}))
        with pytest.raises(ArtifactError, match=problem):
            read_stage(stage)

    @pytest.mark.parametrize("content", ['{"stage": ', "[]", "3", '{"schema_version": 1}'])
    def test_a_damaged_record_is_refused(self, stage: Path, content: str) -> None:
        """Taken for "no record", it would let the stage be trained again over the finished one."""
        (stage / STAGE_RECORD).write_text(content)
        with pytest.raises(ArtifactError, match=r"stage\.json"):
            read_stage(stage)

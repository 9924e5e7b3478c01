"""Bundles made to do harm: each is refused with a message that says why, exit code 2, and nothing is left behind.

Every case goes through the real `main`, and every attack that can has matching hashes: whoever changes a model changes
its manifest too.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import onnx
import pytest

from hrkd.bundle import CARD, EVAL, MANIFEST, MODEL, SCHEMA_VERSION, describe_files
from hrkd.bundle_archive import pack_bundle
from hrkd.shape import to_json
from hrkd_cli.main import main
from tiny_bundle import make_bundle

Change = Callable[[Path], None]
Entries = dict[str, bytes]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    make_bundle(tmp_path / "bundle")
    (tmp_path / "secret.bin").write_bytes(bytes(4096))
    return tmp_path / "bundle"


def edit_manifest(folder: Path, **changes: Any) -> None:
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    (folder / MANIFEST).write_text(json.dumps({**manifest, **changes}), encoding="utf-8")


def relist(folder: Path, **more: dict[str, Any]) -> None:
    """Let the manifest agree with the files, as an attacker would."""
    files = {name: to_json(file) for name, file in describe_files(folder).items()}
    edit_manifest(folder, files={**files, **more})


def flip_a_byte(name: str) -> Change:
    def change(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)

    return change


def remove(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def newer_schema(folder: Path) -> None:
    edit_manifest(folder, schema_version=SCHEMA_VERSION + 1, key_of_the_future=1)


def external_data(location: str) -> Change:
    def change(folder: Path) -> None:
        model = onnx.load(folder / MODEL)
        tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "weights")
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in {"location": location.format(folder.parent), "offset": "0"}.items():
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value
        (folder / MODEL).write_bytes(model.SerializeToString())
        relist(folder)

    return change


def foreign_operator(folder: Path) -> None:
    model = onnx.load(folder / MODEL)
    model.graph.node[0].domain = "evil.example"
    (folder / MODEL).write_bytes(model.SerializeToString())
    relist(folder)


def link(name: str) -> Change:
    def change(folder: Path) -> None:
        original = folder.parent / f"real-{name}"
        (folder / name).rename(original)
        (folder / name).symlink_to(original)

    return change


def pipe_for_a_model(folder: Path) -> None:
    (folder / MODEL).unlink()
    os.mkfifo(folder / MODEL)


def manifest_of(content: str | bytes) -> Change:
    content = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / MANIFEST).write_bytes(content) and None


def lists(name: str) -> Change:
    return lambda folder: relist(folder, **{name: {"sha256": "0" * 64, "size_bytes": 4096}})


def wrong_size(folder: Path) -> None:
    (folder / MODEL).write_bytes((folder / MODEL).read_bytes() + b"\x00")


HOSTILE_FOLDERS: dict[str, tuple[Change, str]] = {
    "flipped byte of the model": (flip_a_byte(MODEL), "model.onnx` was changed"),
    "flipped byte of the texts": (flip_a_byte(EVAL), "eval.jsonl` was changed"),
    "flipped byte of the card": (flip_a_byte(CARD), "README.md` was changed"),
    "appended byte": (wrong_size, "model.onnx` was changed"),
    "missing model": (remove(MODEL), "model.onnx` is missing"),
    "missing manifest": (remove(MANIFEST), "has no manifest.json"),
    "newer schema": (newer_schema, f"schema version {SCHEMA_VERSION + 1}"),
    "linked model": (link(MODEL), "model.onnx` is a symbolic link"),
    "linked manifest": (link(MANIFEST), "manifest.json` is a symbolic link"),
    "pipe for a model": (pipe_for_a_model, "model.onnx` is not a regular file"),
    "external data above": (external_data("../secret.bin"), "'weights' lie outside the file"),
    "external data by absolute path": (external_data("{}/secret.bin"), "'weights' lie outside the file"),
    "external data beside": (external_data("weights.bin"), "'weights' lie outside the file"),
    "foreign operator": (foreign_operator, "'evil.example' is not built into the engines"),
    "lists a file above": (lists("../secret.bin"), "'../secret.bin', which is not a plain file name"),
    "lists an absolute file": (lists("/etc/hostname"), "'/etc/hostname', which is not a plain file name"),
    "lists a drive": (lists("C:secret"), "which is not a plain file name"),
    "lists itself": (lists(MANIFEST), "names the file `manifest.json` twice"),
    "manifest is no JSON": (manifest_of("{"), "is not valid JSON"),
    "manifest is no UTF-8": (manifest_of(b"\xff"), "is not valid JSON"),
    "manifest is no object": (manifest_of("[]"), "schema version None"),
    "deeply nested manifest": (manifest_of("[" * 100_000), "is not valid JSON"),
    "nested value": (manifest_of('{"schema_version": ' + "[" * 900 + "]" * 900 + "}"), "schema version [["),
    "huge number": (manifest_of('{"schema_version": ' + "9" * 5000 + "}"), "is not valid JSON"),
    "huge manifest": (manifest_of(b" " * 4_000_001), "more than 4000000 bytes"),
}


@pytest.mark.skipif(sys.platform == "win32", reason="needs links and pipes")
@pytest.mark.parametrize("case", HOSTILE_FOLDERS)
@pytest.mark.parametrize("command", [("bundle", "verify"), ("bundle", "pack"), ("predict", "--text", "good")])
def test_a_hostile_folder_is_refused(
    command: tuple[str, ...], case: str, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prevents the model, or the file it points at, from being loaded, packed or believed."""
    change, words = HOSTILE_FOLDERS[case]
    change(bundle)
    before = sorted(bundle.parent.iterdir())
    assert main([*command, str(bundle)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert words in captured.err
    assert len(captured.err) < 1000
    assert sorted(bundle.parent.iterdir()) == before


def packed(folder: Path) -> Entries:
    """Return the entries of an archive of a bundle."""
    return {f"tiny/{path.name}": path.read_bytes() for path in sorted(folder.iterdir())}


def write_zip(path: Path, entries: Iterable[tuple[str | zipfile.ZipInfo, bytes]], compression: int = 0) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries:
            archive.writestr(name, content)


def with_entry(name: str, mode: int = 0) -> Callable[[Path, Path], None]:
    """Add an entry of that name and mode."""

    def make(folder: Path, archive: Path) -> None:
        entry = zipfile.ZipInfo("replaced")
        entry.filename = name
        entry.external_attr = mode << 16
        entry.create_system = 3
        write_zip(archive, [*packed(folder).items(), (entry, b"../../secret.bin")])

    return make


def without(name: str) -> Callable[[Path, Path], None]:
    def make(folder: Path, archive: Path) -> None:
        write_zip(archive, [(key, value) for key, value in packed(folder).items() if not key.endswith(name)])

    return make


def changed(change: Change) -> Callable[[Path, Path], None]:
    """Change the bundle's files, then pack them without looking."""

    def make(folder: Path, archive: Path) -> None:
        change(folder)
        write_zip(archive, packed(folder).items())

    return make


def linked_model(folder: Path, archive: Path) -> None:
    entries = packed(folder)
    del entries[f"tiny/{MODEL}"]
    entry = zipfile.ZipInfo(f"tiny/{MODEL}")
    entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    write_zip(archive, [*entries.items(), (entry, b"../secret.bin")])


def twice(folder: Path, archive: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        write_zip(archive, [*packed(folder).items(), (f"tiny/{MODEL}", b"other")])


def bomb(folder: Path, archive: Path) -> None:
    """Pack ten megabytes of zeros that the manifest lists with their true size."""
    entries = packed(folder)
    entries[f"tiny/{MODEL}"] = bytes(10_000_000)
    write_zip(archive, entries.items(), zipfile.ZIP_DEFLATED)


def bomb_with_a_small_header(folder: Path, archive: Path) -> None:
    """Declare the model's true size in every header, and let its compressed data go on for megabytes."""
    size = (folder / MODEL).stat().st_size
    entries = packed(folder)
    entries[f"tiny/{MODEL}"] += bytes(5_000_000)
    write_zip(archive, entries.items(), zipfile.ZIP_DEFLATED)
    declare(archive, f"tiny/{MODEL}", size)


def declare(archive: Path, name: str, size: int) -> None:
    """Overwrite the size of an entry in its own header and in the directory at the end."""
    content = bytearray(archive.read_bytes())
    for place in (content.index(name.encode()) - 30 + 22, content.rindex(name.encode()) - 46 + 24):
        content[place : place + 4] = size.to_bytes(4, "little")
    archive.write_bytes(content)
    with zipfile.ZipFile(archive) as changed_archive:
        assert changed_archive.getinfo(name).file_size == size


def shorter_than_it_says(folder: Path, archive: Path) -> None:
    """Declare more bytes than there are, in the manifest and in every header, over an intact checksum."""
    size = (folder / MODEL).stat().st_size
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    manifest["files"][MODEL]["size_bytes"] = size + 5
    edit_manifest(folder, files=manifest["files"])
    write_zip(archive, packed(folder).items(), zipfile.ZIP_DEFLATED)
    declare(archive, f"tiny/{MODEL}", size + 5)


def truncated(folder: Path, archive: Path) -> None:
    pack_bundle(folder, archive)
    archive.write_bytes(archive.read_bytes()[:-300])


def flipped(folder: Path, archive: Path) -> None:
    pack_bundle(folder, archive)
    content = archive.read_bytes()
    place = content.index((folder / MODEL).read_bytes()) + 100
    archive.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])


def encrypted(folder: Path, archive: Path) -> None:
    pack_bundle(folder, archive)
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)


def other_compression(folder: Path, archive: Path) -> None:
    write_zip(archive, packed(folder).items(), zipfile.ZIP_LZMA)


def many_entries(folder: Path, archive: Path) -> None:
    write_zip(archive, [(f"tiny/{number}", b"") for number in range(1000)])


HOSTILE_ARCHIVES: dict[str, tuple[Callable[[Path, Path], None], str]] = {
    "name above": (with_entry("../evil"), "'../evil', which points outside"),
    "name above in the middle": (with_entry("tiny/../../evil"), "which points outside"),
    "absolute name": (with_entry("/etc/evil"), "'/etc/evil', which points outside"),
    "drive": (with_entry("C:/evil"), "'C:/evil', which points outside"),
    "backslashes": (with_entry("tiny\\..\\evil"), "which points outside"),
    "null byte": (with_entry("tiny/evil\x00.txt"), "which points outside"),
    "symbolic link": (with_entry("tiny/link", stat.S_IFLNK | 0o777), "'tiny/link', which is a link or device"),
    "linked model": (linked_model, "'tiny/model.onnx', which is a link or device"),
    "device": (with_entry("tiny/device", stat.S_IFBLK | 0o600), "which is a link or device"),
    "pipe": (with_entry("tiny/pipe", stat.S_IFIFO | 0o600), "which is a link or device"),
    "folder called a file": (with_entry("tiny/folder", stat.S_IFDIR | 0o755), "which is a link or device"),
    "second folder": (with_entry("other/evil"), "does not hold one folder"),
    "nested folder": (with_entry("tiny/deep/evil"), "does not hold one folder"),
    "file beside the folder": (with_entry("evil"), "does not hold one folder"),
    "unlisted file": (with_entry("tiny/evil.txt"), "holds evil.txt, which its manifest does not list"),
    "hidden file": (with_entry("tiny/.evil"), "which is not a plain file name"),
    "name in other case": (with_entry("tiny/Model.onnx"), "names the file `Model.onnx` twice"),
    "name twice": (twice, "names the file `model.onnx` twice"),
    "no manifest": (without(MANIFEST), "has no manifest.json"),
    "missing model": (without(MODEL), "lacks model.onnx"),
    "newer schema": (changed(newer_schema), f"schema version {SCHEMA_VERSION + 1}"),
    "lists a file above": (changed(lists("../secret.bin")), "'../secret.bin', which is not a plain file name"),
    "external data": (changed(external_data("../secret.bin")), "'weights' lie outside the file"),
    "changed model": (changed(flip_a_byte(MODEL)), "model.onnx` was changed"),
    "other size than listed": (changed(wrong_size), "its manifest says"),
    "deeply nested manifest": (changed(manifest_of("[" * 100_000)), "is not valid JSON"),
    "huge manifest": (changed(manifest_of(b" " * 4_000_001)), "manifest.json has more than 4000000 bytes"),
    "bomb": (bomb, "more than 100 times"),
    "bomb with a small header": (bomb_with_a_small_header, "not an intact zip"),
    "shorter than it says": (shorter_than_it_says, "has not the size that the archive says"),
    "truncated": (truncated, "is not an intact zip"),
    "flipped byte": (flipped, "is not an intact zip"),
    "encrypted": (encrypted, "is encrypted"),
    "other compression": (other_compression, "compressed in a way of its own"),
    "many entries": (many_entries, "has 1000 entries"),
    "no zip": (lambda _, archive: archive.write_bytes(b"text") and None, "is not an intact zip"),
    "empty zip": (lambda _, archive: write_zip(archive, []), "does not hold one folder"),
}


@pytest.mark.parametrize("case", HOSTILE_ARCHIVES)
@pytest.mark.parametrize("command", ["unpack", "verify"])
def test_a_hostile_archive_is_refused(
    command: str, case: str, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prevents an archive from writing outside its folder, filling the disk, or leaving a half-unpacked bundle."""
    make, words = HOSTILE_ARCHIVES[case]
    archive = tmp_path / "inbox" / "bundle.zip"
    archive.parent.mkdir()
    make(bundle, archive)
    before = sorted(tmp_path.iterdir())
    target = archive.parent / "out"
    assert main(["bundle", command, str(archive), *(["--output", str(target)] if command == "unpack" else [])]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert words in captured.err
    assert "hint: " in captured.err
    assert ".tmp" not in captured.err
    assert "hrkd-verify-" not in captured.err
    assert [path.name for path in archive.parent.iterdir()] == ["bundle.zip"]
    assert sorted(tmp_path.iterdir()) == before

"""Packing and unpacking: one bundle is one sequence of bytes, and comes out as it went in."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import pytest

from hrkd.artifact import sha256_file
from hrkd.bundle import MANIFEST, MODEL, Manifest, open_bundle
from hrkd.bundle_archive import pack_bundle, unpack_bundle
from hrkd.errors import ArtifactError
from tiny_bundle import make_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    make_bundle(tmp_path / "bundle", name="student-int8")
    return tmp_path / "bundle"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class TestPacking:
    def test_the_same_bundle_gives_the_same_bytes(self, bundle: Path, tmp_path: Path) -> None:
        """Prevents a hash that changes with the folder's name, the hour, or the modes of files."""
        pack_bundle(bundle, tmp_path / "one.zip")
        other = tmp_path / "elsewhere" / "copy"
        other.mkdir(parents=True)
        for path in sorted(bundle.iterdir(), reverse=True):
            shutil.copyfile(path, other / path.name)
            os.utime(other / path.name, (10**9, 10**9))
            (other / path.name).chmod(0o600)
        pack_bundle(other, tmp_path / "two.zip")
        assert sha256_file(tmp_path / "one.zip") == sha256_file(tmp_path / "two.zip")

    def test_another_bundle_gives_other_bytes(self, bundle: Path, tmp_path: Path) -> None:
        """Prevents an archive that leaves out what differs."""
        pack_bundle(bundle, tmp_path / "one.zip")
        make_bundle(tmp_path / "noisy", name="student-int8", noise=0.1)
        pack_bundle(tmp_path / "noisy", tmp_path / "two.zip")
        assert sha256_file(tmp_path / "one.zip") != sha256_file(tmp_path / "two.zip")

    def test_everything_stands_in_one_folder_manifest_first(self, bundle: Path, tmp_path: Path) -> None:
        """Prevents files strewn over the folder where somebody unpacks, and compressors that differ by machine."""
        manifest = pack_bundle(bundle, tmp_path / "bundle.zip")
        with zipfile.ZipFile(tmp_path / "bundle.zip") as archive:
            entries = archive.infolist()
        assert [entry.filename for entry in entries] == [
            f"student-int8/{name}" for name in (MANIFEST, *sorted(manifest.files))
        ]
        assert {(entry.compress_type, entry.date_time) for entry in entries} == {(0, (1980, 1, 1, 0, 0, 0))}
        assert {oct(entry.external_attr >> 16) for entry in entries} == {"0o100644"}

    @pytest.mark.parametrize(
        ("name", "top"),
        [("../../etc", "etc"), ("a b/c", "a-b-c"), ("日本", "bundle"), ("", "bundle"), ("x" * 99, "x" * 60)],
    )
    def test_the_folder_in_the_archive_has_a_plain_name(self, name: str, top: str, tmp_path: Path) -> None:
        """Prevents an archive of our own that our own rules refuse."""
        make_bundle(tmp_path / "bundle", name=name)
        pack_bundle(tmp_path / "bundle", tmp_path / "bundle.zip")
        with zipfile.ZipFile(tmp_path / "bundle.zip") as archive:
            assert {entry.partition("/")[0] for entry in archive.namelist()} == {top}
        unpack_bundle(tmp_path / "bundle.zip", tmp_path / "again")

    def test_a_damaged_bundle_is_not_packed(self, bundle: Path, tmp_path: Path) -> None:
        """Prevents damage from being shipped, and an old archive from being lost to it."""
        archive = tmp_path / "bundle.zip"
        archive.write_bytes(b"old")
        (bundle / MODEL).write_bytes(b"")
        with pytest.raises(ArtifactError, match="was changed"):
            pack_bundle(bundle, archive, overwrite=True)
        assert archive.read_bytes() == b"old"

    def test_an_existing_file_is_kept(self, bundle: Path, tmp_path: Path) -> None:
        """Prevents another archive from being lost to a repeated command."""
        archive = tmp_path / "bundle.zip"
        archive.write_bytes(b"old")
        with pytest.raises(ArtifactError, match="exists already"):
            pack_bundle(bundle, archive)
        assert archive.read_bytes() == b"old"
        pack_bundle(bundle, archive, overwrite=True)
        assert zipfile.is_zipfile(archive)

    def test_other_files_of_the_folder_stay_there(self, bundle: Path, tmp_path: Path) -> None:
        """Prevents private notes beside a bundle from being shipped with it."""
        (bundle / "notes.txt").write_text("private", encoding="utf-8")
        pack_bundle(bundle, tmp_path / "bundle.zip")
        unpack_bundle(tmp_path / "bundle.zip", tmp_path / "again")
        assert contents(tmp_path / "again") == {
            name: content for name, content in contents(bundle).items() if name != "notes.txt"
        }


class TestUnpacking:
    def test_what_was_packed_comes_out(self, bundle: Path, tmp_path: Path) -> None:
        """Prevents a bundle that is another one after a journey."""
        pack_bundle(bundle, tmp_path / "bundle.zip")
        manifest = unpack_bundle(tmp_path / "bundle.zip", tmp_path / "new" / "again")
        assert isinstance(manifest, Manifest)
        assert manifest == open_bundle(bundle)
        assert contents(tmp_path / "new" / "again") == contents(bundle)

    def test_archives_of_other_tools_are_read(self, bundle: Path, tmp_path: Path) -> None:
        """Prevents a refusal of what people make by hand: compressed, with an entry for the folder, in any order."""
        with zipfile.ZipFile(tmp_path / "bundle.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.mkdir("int8")
            for path in sorted(bundle.iterdir(), reverse=True):
                archive.write(path, f"int8/{path.name}")
        unpack_bundle(tmp_path / "bundle.zip", tmp_path / "again")
        assert contents(tmp_path / "again") == contents(bundle)

    @pytest.mark.parametrize("kind", ["folder", "file", "dangling link"])
    def test_nothing_is_replaced(self, bundle: Path, tmp_path: Path, kind: str) -> None:
        """Prevents the content of somebody's folder from being lost or mixed with a bundle."""
        pack_bundle(bundle, tmp_path / "bundle.zip")
        target = tmp_path / "target"
        if kind == "folder":
            target.mkdir()
        elif kind == "file":
            target.write_bytes(b"mine")
        else:
            target.symlink_to(tmp_path / "nowhere")
        with pytest.raises(ArtifactError, match="exists already"):
            unpack_bundle(tmp_path / "bundle.zip", target)
        assert not (tmp_path / "nowhere").exists()

    @pytest.mark.parametrize("missing", ["no.zip", "bundle"])
    def test_what_is_no_file_is_named(self, bundle: Path, tmp_path: Path, missing: str) -> None:
        """Prevents a traceback for a mistyped path, or for the folder given where the zip is wanted."""
        with pytest.raises(ArtifactError, match=f"{missing}` (does not exist|is a folder)"):
            unpack_bundle(tmp_path / missing, tmp_path / "again")
        assert not (tmp_path / "again").exists()

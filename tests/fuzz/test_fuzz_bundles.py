"""Bundles and their zips: damaged manifests, members and archives, with hashes that fit and hashes that do not."""

from __future__ import annotations

import io
import json
import shutil
import stat
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.budget_of_cases import share
from fuzz.guard import Arena, contents, refused_or
from fuzz.mutations import damaged, damaged_bytes, texts
from hrkd.artifact import sha256_file
from hrkd.bundle import CARD, EVAL, MANIFEST, MODEL, TOKENIZER, open_bundle, read_eval
from hrkd.bundle_archive import pack_bundle, unpack_bundle
from hrkd.bundle_card import render_card, summary_lines
from hrkd.bundle_verify import verify_bundle
from hrkd_bench.runtime import Classifier
from tiny_bundle import make_bundle

pytestmark = pytest.mark.filterwarnings("ignore")
ODD_NAMES = (
    *("../canary.txt", "bundle/../../canary.txt", "/canary", "bundle//x", "bundle/./x", "b\\..\\x", "bundle/a\0b"),
    *("C:x", "other/model.onnx", "bundle/deep/x", "bundle/", "bundle/é", "bundle/" + "x" * 300, ""),
)


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that is in order."""
    folder = tmp_path_factory.mktemp("sound") / "bundle"
    make_bundle(folder, per_domain=6)
    return folder


@pytest.fixture(scope="session")
def archive(sound: Path) -> Path:
    """Its zip."""
    path = sound.parent / "bundle.zip"
    pack_bundle(sound, path)
    return path


def use(folder: Path) -> None:
    """Do all that is done with a bundle of unknown origin, short of running its graph."""
    refused_or(lambda: verify_bundle(folder))
    manifest = refused_or(lambda: open_bundle(folder))
    if manifest is not None:
        render_card(manifest)
        summary_lines(manifest)
        refused_or(lambda: read_eval(folder, manifest))
        refused_or(lambda: pack_bundle(folder, Path("packed.zip")))


@share(0.08)
@given(data=st.data())
def test_a_manifest_is_read_or_refused(arena: Arena, sound: Path, data: st.DataObject) -> None:
    """Prevents a manifest of another version or hand from ending in a traceback, or naming files elsewhere."""
    good = json.loads((sound / MANIFEST).read_text(encoding="utf-8"))
    as_values = damaged(good).map(lambda value: json.dumps(value).encode())
    content = data.draw(st.one_of(as_values, as_values, damaged_bytes((sound / MANIFEST).read_bytes())))

    def prepare(box: Path) -> None:
        shutil.copytree(sound, box / "bundle")
        (box / "bundle" / MANIFEST).write_bytes(content)

    with arena.case(prepare):
        use(Path("bundle"))


@share(0.08)
@given(data=st.data())
def test_a_damaged_member_with_a_fitting_hash_is_refused(arena: Arena, sound: Path, data: st.DataObject) -> None:
    """Prevents whoever can write a hash from reaching code that takes files for granted."""
    name = data.draw(st.sampled_from((MODEL, EVAL, EVAL, CARD, TOKENIZER)))
    content = data.draw(damaged_bytes((sound / name).read_bytes()))

    def prepare(box: Path) -> None:
        shutil.copytree(sound, box / "bundle")
        rewrite(box / "bundle", name, content)

    with arena.case(prepare):
        use(Path("bundle"))
        if name != MODEL:  # the runtime's own parser, in C++, is not what is tested here
            classifier = refused_or(lambda: Classifier.load(Path("bundle")))
            if classifier is not None:
                refused_or(lambda: classifier(["a fine film"], domain="books"))


@share(0.03)
@given(data=st.data())
def test_a_damaged_tokenizer_is_refused(arena: Arena, sound: Path, data: st.DataObject) -> None:
    """Prevents a panic inside the tokenizer library, which is no ordinary exception."""
    good = json.loads((sound / TOKENIZER).read_text(encoding="utf-8"))
    content = json.dumps(data.draw(damaged(good))).encode()

    def prepare(box: Path) -> None:
        shutil.copytree(sound, box / "bundle")
        rewrite(box / "bundle", TOKENIZER, content)

    with arena.case(prepare):
        classifier = refused_or(lambda: Classifier.load(Path("bundle")))
        if classifier is not None:
            refused_or(lambda: classifier(["a fine film"], domain="books"))


def rewrite(folder: Path, name: str, content: bytes) -> None:
    """Replace a member and its hash."""
    (folder / name).write_bytes(content)
    manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    manifest["files"][name] = {"sha256": sha256_file(folder / name), "size_bytes": len(content)}
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


@st.composite
def rebuilt(draw: st.DrawFn, archive: bytes) -> bytes:
    """Return the archive written anew, with odd entries: names, kinds, copies, gaps."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as source, zipfile.ZipFile(target, "w") as made:
        entries = [(entry.filename, source.read(entry)) for entry in source.infolist()]
        kept = [entry for entry in entries if draw(st.integers(0, 9))]
        for name, content in kept:
            made.writestr(
                _entry(draw, name), content, draw(st.sampled_from((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))
            )
        for name in draw(st.lists(st.one_of(st.sampled_from(ODD_NAMES), texts), max_size=2)):
            odd = _entry(draw, name.encode("utf-8", "replace").decode())
            made.writestr(odd, draw(st.sampled_from((b"", b"../../canary.txt", b"x" * 100_000))))
    return target.getvalue()


def _entry(draw: st.DrawFn, name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo("x")
    entry.filename = name if draw(st.integers(0, 7)) else draw(st.sampled_from(ODD_NAMES))
    kind = draw(st.sampled_from((0, stat.S_IFREG, stat.S_IFREG, stat.S_IFLNK, stat.S_IFDIR, stat.S_IFIFO)))
    entry.external_attr = (kind | 0o644) << 16
    return entry


@share(0.12)
@given(data=st.data())
def test_a_zip_is_unpacked_whole_or_not_at_all(arena: Arena, sound: Path, archive: Path, data: st.DataObject) -> None:
    """Prevents a zip from anywhere from writing beside its folder, and half a bundle from being left."""
    content = data.draw(st.one_of(rebuilt(archive.read_bytes()), damaged_bytes(archive.read_bytes())))
    with arena.case(lambda box: (box / "bundle.zip").write_bytes(content)) as box:
        manifest = refused_or(lambda: unpack_bundle(Path("bundle.zip"), Path("out")))
        if manifest is None:
            assert set(contents(box)) == {"bundle.zip"}
        else:
            assert {path.name for path in Path("out").iterdir()} == {*manifest.files, MANIFEST}

"""Everything that can be said of a bundle without running it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from hrkd.artifact import read_json
from hrkd.bundle import CARD, MANIFEST, TOKENIZER, Manifest, open_bundle, read_eval
from hrkd.bundle_archive import errors_name, unpack_bundle
from hrkd.bundle_files import unlisted_files
from hrkd.errors import ArtifactError


@dataclass(frozen=True, slots=True)
class Verified:
    """A bundle in which nothing was found wrong.

    Attributes:
        manifest: What it says about itself.
        texts: Its evaluation texts.
    """

    manifest: Manifest
    texts: int


def verify_bundle(path: Path) -> Verified:
    """Check all of a bundle: more than what loading it needs, and without the libraries that run it.

    Sizes, hashes, names and kinds of files, the schema, the graph's operators and data, every evaluation text, that the
    card is text and the tokenizer JSON, and that nothing stands beside them. A zip is unpacked into a temporary folder.

    Args:
        path: A bundle's folder, or its zip.

    Raises:
        ArtifactError: The first thing that is wrong.
    """
    if path.is_file():
        with TemporaryDirectory(prefix="hrkd-verify-") as name:
            folder = Path(name) / "bundle"
            unpack_bundle(path, folder)
            with errors_name(path, folder):
                return _verify_folder(folder)
    return _verify_folder(path)


def _verify_folder(folder: Path) -> Verified:
    manifest = open_bundle(folder)
    others = unlisted_files(folder, [*manifest.files, MANIFEST])
    if others:
        raise ArtifactError(
            f"`{folder}` holds {others[0]!a}, which its manifest does not list"
            + (f" (and {len(others) - 1} more)" if len(others) > 1 else ""),
            hint="move it elsewhere; `hrkd bundle pack` and `push` leave it out",
        )
    if not isinstance(read_json(folder / TOKENIZER), dict):
        raise ArtifactError(f"`{folder / TOKENIZER}` is not a tokenizer", hint="export the bundle again")
    try:
        (folder / CARD).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ArtifactError(f"`{folder / CARD}` is not UTF-8: {error}", hint="export the bundle again") from error
    return Verified(manifest, len(read_eval(folder, manifest)))

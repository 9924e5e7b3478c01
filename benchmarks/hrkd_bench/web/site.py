"""Write the static page of a bundle: a folder that any web server can send, and that asks nobody else for anything."""

from __future__ import annotations

import hashlib
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from hrkd.artifact import hash_files, new_folder, write_json, write_text
from hrkd.bundle import EVAL, MANIFEST, MODEL, TOKENIZER, Manifest, read_eval
from hrkd.errors import ArtifactError
from hrkd_bench.measurement.measure import Progress, no_progress
from hrkd_bench.runtime import Classifier
from hrkd_bench.web.assets import find_assets
from hrkd_bench.web.isolation import ISOLATION
from hrkd_bench.web.reference import check_tokenizer, page_facts

INDEX = "index.html"
SUMS = "SHA256SUMS"
FACTS = "site.json"
BUNDLE_FOLDER = "bundle"
VENDOR_FOLDER = "vendor"
_SUMS_PLACE = 'data-sums=""'


@dataclass(frozen=True, slots=True)
class Site:
    """A page that was written.

    Attributes:
        folder: Where.
        manifest: Of the bundle in it.
        texts: Evaluation texts in it.
        size_bytes: All of its files.
        download_bytes: What a visitor's browser loads before the first answer, uncompressed.
    """

    folder: Path
    manifest: Manifest
    texts: int
    size_bytes: int
    download_bytes: int

    @property
    def facts(self) -> dict[str, str | int]:
        """What a script may want to know."""
        return {
            "page": str(self.folder),
            "bundle_hash": self.manifest.bundle_hash,
            "eval_texts": self.texts,
            "size_bytes": self.size_bytes,
            "download_bytes": self.download_bytes,
        }

    @property
    def summary(self) -> str:
        """What a person wants to know."""
        headers = ", ".join(f"{name}: {value}" for name, value in list(ISOLATION.items())[:2])
        return "\n".join(
            [
                str(self.folder),
                f"  {self.size_bytes / 1e6:.1f} MB, of which a visitor loads {self.download_bytes / 1e6:.1f} MB",
                f"  try it: python3 -m http.server --bind 127.0.0.1 --directory {shlex.quote(str(self.folder))}",
                f"  for more than one thread the server must send: {headers}",
            ]
        )


def write_site(
    bundle: Path,
    folder: Path,
    *,
    assets: Path | None = None,
    npm_cache: Path | None = None,
    with_texts: bool = True,
    replace: bool = False,
    progress: Progress | None = None,
) -> Site:
    """Write the page of a bundle.

    The page carries the Python runtime's answers, which are made here: to hostile texts, by which it tests itself
    before it answers anybody, and to the evaluation texts.

    Args:
        bundle: A bundle's folder.
        folder: The folder to make.
        assets: Third-party files that the user brought, see :func:`hrkd_bench.web.assets.find_assets`.
        npm_cache: Where fetched third-party files are kept.
        with_texts: Whether the evaluation texts go along, without which the page cannot measure. They become public
            with the page.
        replace: Whether an older page at ``folder`` is replaced; anything else there never is.
        progress: Called with phase, done and total.

    Raises:
        ArtifactError: The bundle is damaged, or ``folder`` exists.
        BenchError: The bundle's tokenizer cannot be repeated in a browser, or the third-party files cannot be had.
        MissingExtraError: What runs the bundle is not installed.
    """
    if replace and folder.exists() and not _is_page(folder):
        raise ArtifactError(f"`{folder}` is not a page of hrkd, so it is not replaced", hint="choose another name")
    with new_folder(folder, replace=replace) as target:
        classifier = Classifier.load(bundle)
        check_tokenizer(bundle)
        libraries = find_assets(assets, npm_cache)
        examples = read_eval(bundle, classifier.manifest) if with_texts else []
        write_json(target / FACTS, page_facts(classifier, examples, progress or no_progress))
        _copy(bundle, target, libraries, with_texts)
        _seal(target)
        sizes = {path.relative_to(target).as_posix(): path.stat().st_size for path in _files(target)}
    later = {name for name in sizes if Path(name).name in (EVAL, "NOTICE.txt", "tokenizers.LICENSE.txt")}
    return Site(
        folder=folder,
        manifest=classifier.manifest,
        texts=len(examples),
        size_bytes=sum(sizes.values()),
        download_bytes=sum(size for name, size in sizes.items() if name not in later),
    )


def _copy(bundle: Path, target: Path, libraries: Mapping[str, Path], with_texts: bool) -> None:
    static = Path(str(files("hrkd_bench.web") / "static"))
    for source in _files(static):
        _copy_file(source, target / source.relative_to(static))
    for name in (MODEL, TOKENIZER, MANIFEST, *((EVAL,) if with_texts else ())):
        _copy_file(bundle / name, target / BUNDLE_FOLDER / name)
    for name, path in libraries.items():
        _copy_file(path, target / VENDOR_FOLDER / name)


def _copy_file(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _seal(target: Path) -> None:
    """Write the hashes of all files, and the hash of that list into the page, which checks what it loads against it."""
    index = (target / INDEX).read_text(encoding="utf-8")
    if index.count(_SUMS_PLACE) != 1:
        raise ArtifactError(f"the page has no place for its hashes: `{_SUMS_PLACE}`", hint="install hrkd again")
    hashes = {name: sha256 for name, sha256 in hash_files(target).items() if name != INDEX}
    sums = "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(hashes.items()))
    write_text(target / SUMS, sums)
    sealed = index.replace(_SUMS_PLACE, f'data-sums="{hashlib.sha256(sums.encode()).hexdigest()}"')
    write_text(target / INDEX, sealed)


def _is_page(folder: Path) -> bool:
    """Return whether a folder holds a page and nothing but what its list of hashes names."""
    if not (folder / INDEX).is_file() or not (folder / SUMS).is_file():
        return False
    listed = {line.partition("  ")[2] for line in (folder / SUMS).read_text(encoding="utf-8").splitlines()}
    found = {path.relative_to(folder).as_posix() for path in _files(folder)}
    return found <= listed | {INDEX, SUMS}


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())

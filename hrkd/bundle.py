"""The bundle: the folder that is shipped. Export writes it, the edge runtime reads it, nothing else connects them.

::

    model.onnx       one graph for all domains: input_ids, attention_mask, domain_id -> logits
    tokenizer.json   a `tokenizers` file; truncation is set from the manifest's max_length
    eval.jsonl       test texts of every domain with label and the teacher's logits
    README.md        the model card, rendered from the manifest (hrkd.bundle_card)
    manifest.json    hrkd.bundle_manifest.Manifest: hashes, names, facts, reference numbers

A bundle is verified before anything in it is parsed by another library, and nothing in it is executed or unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from hrkd.artifact import read_json, sha256_file, verify_files, write_json, write_text
from hrkd.bundle_files import check_files, check_names, real_size
from hrkd.bundle_graph import check_graph
from hrkd.bundle_manifest import (
    CARD,
    EVAL,
    MODEL,
    SCHEMA_VERSION,
    TOKENIZER,
    BundleFile,
    Drop,
    EncoderShape,
    EvalExample,
    Flips,
    GraphFacts,
    Guard,
    Invariance,
    Manifest,
    ReferenceMetrics,
    Vocabulary,
)
from hrkd.errors import ArtifactError
from hrkd.printable import is_printable_name
from hrkd.shape import ShapeError, from_json, to_json

__all__ = [
    "CARD",
    "EVAL",
    "MANIFEST",
    "MANIFEST_LIMIT_BYTES",
    "MODEL",
    "REMAKE",
    "SCHEMA_VERSION",
    "TOKENIZER",
    "UNKNOWN_DOMAIN",
    "BundleFile",
    "Drop",
    "EncoderShape",
    "EvalExample",
    "Flips",
    "GraphFacts",
    "Guard",
    "Invariance",
    "Manifest",
    "ReferenceMetrics",
    "Vocabulary",
    "describe_files",
    "open_bundle",
    "parse_eval",
    "read_eval",
    "read_manifest",
    "write_eval",
    "write_manifest",
]

MANIFEST = "manifest.json"
MANIFEST_LIMIT_BYTES = 4_000_000
"""Larger manifests are refused unread; one with a hundred domains has a few kilobytes."""
REMAKE = "make the model, or export the bundle, again"
UNKNOWN_DOMAIN = -1
"""The `domain_id` that asks for the mean of all heads' probabilities."""


def describe_files(folder: Path) -> dict[str, BundleFile]:
    """Hash and measure the files of a bundle folder, for its manifest; the card is rendered from one without it."""
    paths = [folder / name for name in (MODEL, TOKENIZER, EVAL)]
    paths += [folder / CARD] if (folder / CARD).exists() else []
    return {path.name: BundleFile(sha256=sha256_file(path), size_bytes=path.stat().st_size) for path in paths}


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json` as the last file of a bundle.

    Raises:
        ShapeError: A value has another type than its field, so nobody could read the file again: a bug of the caller.
    """
    value = to_json(manifest)
    from_json(Manifest, value)
    write_json(folder / MANIFEST, value)


def open_bundle(folder: Path) -> Manifest:
    """Read and verify a bundle.

    Raises:
        ArtifactError: Not a bundle, of an unknown schema, a file is missing, changed or no plain file of the folder,
            or the graph reaches outside its file.
    """
    if folder.is_file() and folder.suffix == ".zip":
        raise ArtifactError(
            f"`{folder}` is a packed bundle", hint=f"`hrkd bundle unpack {folder}` makes a folder of it"
        )
    if not folder.is_dir():
        raise ArtifactError(f"bundle `{folder}` is not a folder", hint="`hrkd export` makes one")
    if not (folder / MANIFEST).exists():
        raise ArtifactError(f"`{folder}` has no {MANIFEST}, so it is not a bundle", hint="`hrkd export` makes one")
    manifest = read_manifest(folder / MANIFEST)
    check_files(folder, {name: file.size_bytes for name, file in manifest.files.items()})
    verify_files(folder, {name: file.sha256 for name, file in manifest.files.items()})
    check_graph(folder / MODEL)
    return manifest


def read_manifest(path: Path) -> Manifest:
    """Read a manifest, and nothing else of its bundle.

    Raises:
        ArtifactError: It is no manifest of this schema, or names files that cannot be a bundle's.
    """
    if real_size(path) > MANIFEST_LIMIT_BYTES:
        raise ArtifactError(f"`{path}` has more than {MANIFEST_LIMIT_BYTES} bytes, so it is not a manifest")
    value = read_json(path)
    version = value.get("schema_version") if isinstance(value, dict) else None
    if version != SCHEMA_VERSION:
        raise ArtifactError(
            f"`{path}` has schema version {version!r:.40}, this hrkd reads {SCHEMA_VERSION}",
            hint="upgrade hrkd, or export the bundle again",
        )
    try:
        manifest = from_json(Manifest, value)
    except ShapeError as error:
        raise ArtifactError(f"`{path}` is not a valid manifest: {error}", hint="export the bundle again") from error
    missing = {MODEL, TOKENIZER, EVAL, CARD} - set(manifest.files)
    if missing:
        raise ArtifactError(f"`{path}` does not list {', '.join(sorted(missing))}", hint="export the bundle again")
    check_names([*manifest.files, MANIFEST], f"`{path}`")
    hidden = next((one for one in _names(manifest) if not is_printable_name(one)), None)
    if hidden is not None:
        raise ArtifactError(
            f"`{path}` holds the name {hidden[:60]!a}, with characters that a terminal would obey",
            hint="do not use it; if it is yours, name labels and domains without such characters and make it again",
        )
    for kind, names in (("labels", manifest.label_names), ("domains", manifest.domain_names)):
        if len(set(names)) != len(names):
            raise ArtifactError(f"`{path}` names two {kind} alike", hint="export the bundle again")
    return manifest


def _names(manifest: Manifest) -> tuple[str, ...]:
    """Return the names that people are shown."""
    return (manifest.name, *manifest.label_names, *manifest.domain_names)


def write_eval(folder: Path, examples: Iterable[EvalExample]) -> None:
    """Write `eval.jsonl`."""
    lines = (json.dumps(to_json(example), ensure_ascii=False, allow_nan=False) for example in examples)
    write_text(folder / EVAL, "\n".join(lines) + "\n")


def read_eval(folder: Path, manifest: Manifest) -> list[EvalExample]:
    """Read a bundle's `eval.jsonl`; see :func:`parse_eval`."""
    return parse_eval(folder / EVAL, manifest.label_names, manifest.domain_names)


def parse_eval(path: Path, label_names: Sequence[str], domain_names: Sequence[str]) -> list[EvalExample]:
    """Read evaluation texts and check them against the known names.

    Raises:
        ArtifactError: The file is missing or empty, or a line is damaged, names an unknown label or domain, or
            holds another number of logits than there are labels.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"`{path}` cannot be read: {error}", hint=REMAKE) from error
    examples = [
        _parse_line(f"`{path}` line {number}", line, label_names, domain_names)
        for number, line in enumerate(lines, start=1)
        if line
    ]
    if not examples:
        raise ArtifactError(f"`{path}` holds no examples", hint=REMAKE)
    return examples


def _parse_line(where: str, line: str, label_names: Sequence[str], domain_names: Sequence[str]) -> EvalExample:
    try:
        example = from_json(EvalExample, json.loads(line))
    except ShapeError as error:
        raise ArtifactError(f"{where}: {error.problem} at `{error.where}`", hint=REMAKE) from error
    except (ValueError, RecursionError) as error:  # RecursionError: nested too deep
        raise ArtifactError(f"{where}: Invalid JSON: {error}", hint=REMAKE) from error
    if example.label not in label_names or example.domain not in domain_names:
        raise ArtifactError(f"{where}: label {example.label!r} or domain {example.domain!r} is unknown", hint=REMAKE)
    if len(example.teacher_logits) != len(label_names):
        raise ArtifactError(
            f"{where}: {len(example.teacher_logits)} teacher logits for {len(label_names)} labels", hint=REMAKE
        )
    return example

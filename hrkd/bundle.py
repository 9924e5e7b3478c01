"""The bundle: the folder that is shipped. Export writes it, the edge runtime reads it, nothing else connects them.

::

    model.onnx       one graph for all domains: input_ids, attention_mask, domain_id -> logits
    tokenizer.json   a `tokenizers` file; truncation is set from the manifest's max_length
    eval.jsonl       test texts of every domain with label and the teacher's logits
    README.md        the model card, rendered from the manifest (hrkd.bundle_card)
    manifest.json    this module's Manifest: hashes, names, facts, reference numbers

A bundle is verified before anything in it is parsed by another library, and nothing in it is executed or unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hrkd.artifact import hash_of, read_json, sha256_file, verify_files, write_json, write_text
from hrkd.bundle_files import check_files, check_names, real_size
from hrkd.bundle_graph import check_graph
from hrkd.errors import ArtifactError

MANIFEST = "manifest.json"
MODEL = "model.onnx"
TOKENIZER = "tokenizer.json"
EVAL = "eval.jsonl"
CARD = "README.md"
MANIFEST_LIMIT_BYTES = 4_000_000
"""Larger manifests are refused unread; one with a hundred domains has a few kilobytes."""
SCHEMA_VERSION: Literal[2] = 2
REMAKE = "make the model, or export the bundle, again"
UNKNOWN_DOMAIN = -1
"""The `domain_id` that asks for the mean of all heads' probabilities."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class BundleFile(_Strict):
    """One file of the bundle."""

    sha256: str
    size_bytes: int


class GraphFacts(_Strict):
    """What the ONNX file contains, counted after it was written."""

    opset: int
    ir_version: int
    operators: dict[str, int] = Field(description="number of nodes by operator type")
    quantized_bytes: int = Field(description="bytes of integer weight tensors")
    float_bytes: int = Field(description="bytes of floating-point weight tensors that are left")


class ReferenceMetrics(_Strict):
    """Accuracy on `eval.jsonl` when the bundle was made, to compare with what the device measures."""

    average: float
    worst: float
    domains: dict[str, float]
    agreement_with_teacher: float


class Flips(_Strict):
    """How often the quantised graph answers otherwise, as fractions of the evaluation texts."""

    from_fp32: float
    from_teacher: float
    domains: dict[str, float] = Field(description="from the fp32 graph, by domain")


class Invariance(_Strict):
    """What batch mates and padding do to the answers of the shipped graph."""

    texts: int
    padded_flips: float = Field(description="fraction of texts whose label changes when padded to the longest")
    batched_flips: float = Field(description="fraction whose label changes in a padded batch")
    largest_change: float = Field(description="of a logit, in either case")
    advice: str = Field(description="the safe way to call it, for people")


class Drop(_Strict):
    """Points of accuracy lost against the fp32 graph, with the 95 % interval of a paired bootstrap over texts."""

    points: float
    low: float
    high: float


class Guard(_Strict):
    """What the accuracy guard was asked, and what it did."""

    limit_points: float
    drops: dict[str, Drop] = Field(description="by domain, on validation texts")
    kept_in_float: tuple[str, ...] = Field(description="nodes that were not quantised for it")


class Vocabulary(_Strict):
    """What trimming the vocabulary did."""

    pieces_before: int
    pieces: int
    unknown_rate_before: dict[str, float] = Field(description="unknown pieces of validation texts, by domain")
    unknown_rate: dict[str, float]
    rows: int | None = Field(default=None, description="of the word embedding, where pieces share them")


class Manifest(_Strict):
    """Everything a runtime and a reader need to know about a bundle."""

    schema_version: Literal[2] = SCHEMA_VERSION
    name: str
    role: Literal["teacher", "student"]
    precision: Literal["fp32", "fp16", "int8", "int4"]
    quantization: str | None = Field(description="recipe's name of what was done to the weights; None for fp32")
    engine: Literal["onnxruntime", "openvino"] = Field(description="what runs the graph")
    target: str
    backend: str | None = Field(description="library that quantised the graph; None for fp32")
    domain_names: tuple[str, ...] = Field(min_length=1)
    label_names: tuple[str, ...] = Field(min_length=1)
    max_length: int = Field(gt=0)
    text_pairs: bool
    parents: dict[str, str] = Field(description="output hash of each stage that this bundle was made from")
    recipe_hash: str | None
    method: dict[str, str | float | int | None] = Field(description="distillation objective, for readers")
    versions: dict[str, str] = Field(description="versions of the libraries that made the bundle")
    graph: GraphFacts
    fusions: dict[str, int] = Field(description="operators fused offline, by type; empty for a plain graph")
    reference: ReferenceMetrics
    flips: Flips | None = Field(description="None for fp32")
    invariance: Invariance
    validation: dict[str, float] | None = Field(
        description="accuracy on validation texts by domain, by which candidates are chosen; None where not measured"
    )
    guard: Guard | None
    vocabulary: Vocabulary | None
    session: dict[str, int | bool | str] = Field(description="settings of the engine to use")
    files: dict[str, BundleFile]

    @property
    def model_sha256(self) -> str:
        """SHA-256 of the ONNX file."""
        return self.files[MODEL].sha256

    @property
    def size_bytes(self) -> int:
        """Bytes needed to run the model: not the evaluation texts, the card and the manifest."""
        return sum(file.size_bytes for name, file in self.files.items() if name not in (EVAL, CARD))

    @property
    def bundle_hash(self) -> str:
        """One hash over all files."""
        return hash_of({name: file.sha256 for name, file in self.files.items()})


class EvalExample(_Strict):
    """One line of `eval.jsonl`."""

    text: str
    text_pair: str | None = None
    label: str
    domain: str
    teacher_logits: tuple[float, ...]


def describe_files(folder: Path) -> dict[str, BundleFile]:
    """Hash and measure the files of a bundle folder, for its manifest; the card is rendered from one without it."""
    paths = [folder / name for name in (MODEL, TOKENIZER, EVAL)]
    paths += [folder / CARD] if (folder / CARD).exists() else []
    return {path.name: BundleFile(sha256=sha256_file(path), size_bytes=path.stat().st_size) for path in paths}


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json` as the last file of a bundle."""
    write_json(folder / MANIFEST, manifest.model_dump(mode="json"))


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
        manifest = Manifest.model_validate(value)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise ArtifactError(
            f"`{path}` is not a valid manifest: `{where}`: {problem['msg']}", hint="export the bundle again"
        ) from error
    missing = {MODEL, TOKENIZER, EVAL, CARD} - set(manifest.files)
    if missing:
        raise ArtifactError(f"`{path}` does not list {', '.join(sorted(missing))}", hint="export the bundle again")
    check_names([*manifest.files, MANIFEST], f"`{path}`")
    for kind, names in (("labels", manifest.label_names), ("domains", manifest.domain_names)):
        if len(set(names)) != len(names):
            raise ArtifactError(f"`{path}` names two {kind} alike", hint="export the bundle again")
    return manifest


def write_eval(folder: Path, examples: Iterable[EvalExample]) -> None:
    """Write `eval.jsonl`."""
    lines = (json.dumps(example.model_dump(mode="json"), ensure_ascii=False) for example in examples)
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
        example = EvalExample.model_validate_json(line)
    except ValidationError as error:
        raise ArtifactError(f"{where}: {error.errors()[0]['msg']}", hint=REMAKE) from error
    if example.label not in label_names or example.domain not in domain_names:
        raise ArtifactError(f"{where}: label {example.label!r} or domain {example.domain!r} is unknown", hint=REMAKE)
    if len(example.teacher_logits) != len(label_names):
        raise ArtifactError(
            f"{where}: {len(example.teacher_logits)} teacher logits for {len(label_names)} labels", hint=REMAKE
        )
    return example

"""What a bundle says about itself: the one description of `manifest.json` and of a line of `eval.jsonl`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from hrkd.artifact import hash_of
from hrkd.shape import Minimum

MODEL = "model.onnx"
TOKENIZER = "tokenizer.json"
EVAL = "eval.jsonl"
CARD = "README.md"
SCHEMA_VERSION: Literal[2] = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleFile:
    """One file of the bundle."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphFacts:
    """What the ONNX file contains, counted after it was written.

    Attributes:
        operators: Number of nodes by operator type.
        quantized_bytes: Bytes of integer weight tensors.
        float_bytes: Bytes of floating-point weight tensors that are left.
    """

    opset: int
    ir_version: int
    operators: dict[str, int]
    quantized_bytes: int
    float_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ReferenceMetrics:
    """Accuracy on `eval.jsonl` when the bundle was made, to compare with what the device measures."""

    average: float
    worst: float
    domains: dict[str, float]
    agreement_with_teacher: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Flips:
    """How often the quantised graph answers otherwise, as fractions of the evaluation texts.

    Attributes:
        domains: From the fp32 graph, by domain.
    """

    from_fp32: float
    from_teacher: float
    domains: dict[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Invariance:
    """What batch mates and padding do to the answers of the shipped graph.

    Attributes:
        padded_flips: Fraction of texts whose label changes when padded to the longest.
        batched_flips: Fraction whose label changes in a padded batch.
        largest_change: Of a logit, in either case.
        advice: The safe way to call it, for people.
    """

    texts: int
    padded_flips: float
    batched_flips: float
    largest_change: float
    advice: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Drop:
    """Points of accuracy lost against the fp32 graph, with the 95 % interval of a paired bootstrap over texts."""

    points: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Guard:
    """What the accuracy guard was asked, and what it did.

    Attributes:
        drops: By domain, on validation texts.
        kept_in_float: Nodes that were not quantised for it.
    """

    limit_points: float
    drops: dict[str, Drop]
    kept_in_float: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Vocabulary:
    """What trimming the vocabulary did.

    Attributes:
        unknown_rate_before: Unknown pieces of validation texts, by domain.
        rows: Of the word embedding, where pieces share them.
    """

    pieces_before: int
    pieces: int
    unknown_rate_before: dict[str, float]
    unknown_rate: dict[str, float]
    rows: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderShape:
    """What decides how much an answer computes."""

    layers: Annotated[int, Minimum(1)]
    hidden_size: Annotated[int, Minimum(1)]
    attention_heads: Annotated[int, Minimum(1)]
    intermediate_size: Annotated[int, Minimum(1)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """Everything a runtime and a reader need to know about a bundle.

    Attributes:
        quantization: Recipe's name of what was done to the weights; None for fp32.
        engine: What runs the graph.
        backend: Library that quantised the graph; None for fp32.
        parents: Output hash of each stage that this bundle was made from.
        method: Distillation objective, for readers.
        versions: Versions of the libraries that made the bundle.
        fusions: Operators fused offline, by type; empty for a plain graph.
        flips: None for fp32.
        validation: Accuracy on validation texts by domain, by which candidates are chosen; None where not measured.
        session: Settings of the engine to use.
        encoder: Its size; None in a bundle of an earlier version.
    """

    schema_version: Literal[2] = SCHEMA_VERSION
    name: str
    role: Literal["teacher", "student"]
    precision: Literal["fp32", "fp16", "int8", "int4"]
    quantization: str | None
    engine: Literal["onnxruntime", "openvino"]
    target: str
    backend: str | None
    domain_names: Annotated[tuple[str, ...], Minimum(1)]
    label_names: Annotated[tuple[str, ...], Minimum(1)]
    max_length: Annotated[int, Minimum(1)]
    text_pairs: bool
    parents: dict[str, str]
    recipe_hash: str | None
    method: dict[str, str | float | int | bool | None]
    versions: dict[str, str]
    graph: GraphFacts
    fusions: dict[str, int]
    reference: ReferenceMetrics
    flips: Flips | None
    invariance: Invariance
    validation: dict[str, float] | None
    guard: Guard | None
    vocabulary: Vocabulary | None
    session: dict[str, int | bool | str]
    files: dict[str, BundleFile]
    encoder: EncoderShape | None = None

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


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalExample:
    """One line of `eval.jsonl`."""

    text: str
    text_pair: str | None = None
    label: str
    domain: str
    teacher_logits: tuple[float, ...]

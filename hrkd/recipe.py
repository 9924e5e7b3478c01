"""The recipe: everything that decides a run, as frozen, strict objects; `hrkd.recipe_file` reads them from YAML.

Every default is written here and nowhere else. Building a recipe does no I/O.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from hrkd.artifact import hash_of

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0.0)]
NonNegativeFloat = Annotated[float, Field(ge=0.0)]
Name = Annotated[str, Field(min_length=1)]


class DataSource(StrEnum):
    """Where the texts come from."""

    VADER = "vader"
    """Four domains of rated sentences from one PyPI source archive."""
    AMAZON_REVIEWS = "amazon_reviews"
    """A folder with one sub-folder per domain holding ``*.review`` files."""
    MULTI_NLI = "multi_nli"
    """Sentence pairs by genre, from the Hub or a local copy."""
    HUB = "hub"
    """Any data set that ``datasets`` can load: a Hub id or a local folder."""
    FILES = "files"
    """CSV, TSV, JSONL or Parquet with a domain column, or a folder with one file per domain."""


class Precision(StrEnum):
    """Number format of the training arithmetic; parameters stay float32."""

    AUTO = "auto"
    """bfloat16 where the device computes in it natively, float32 elsewhere."""
    BF16 = "bf16"
    FP32 = "fp32"


class StudentInit(StrEnum):
    """Where the student's first weights come from."""

    TEACHER_LAYERS = "teacher_layers"
    """Copies of chosen teacher layers; needs the teacher's width."""
    CHECKPOINT = "checkpoint"
    """A pretrained encoder folder or Hub id; decides the student's shape itself."""
    RANDOM = "random"


class GraphVariant(StrEnum):
    """How the domain ratios are computed (method.md section 6)."""

    UNIFORM = "uniform"
    """Every domain weighs 1/K: the control without a graph, at the same loss scale."""
    REFERENCE = "reference"
    """The released computation: hierarchical compare-aggregate and graph attention, frozen at random weights."""


class QuantizationBackend(StrEnum):
    """Which library applies the quantisation preset."""

    AUTO = "auto"
    """Optimum where it can be imported, onnxruntime otherwise."""
    OPTIMUM = "optimum"
    ORT = "ort"


class Target(StrEnum):
    """Instruction set of the machine that will run the bundle."""

    AUTO = "auto"
    """Read from this machine's processor."""
    AVX2 = "avx2"
    AVX512 = "avx512"
    AVX512_VNNI = "avx512_vnni"
    ARM64 = "arm64"


class Section(BaseModel):
    """Base of all recipe sections: frozen, and unknown keys and infinite numbers are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataConfig(Section):
    """Which texts, how they are labelled, and how they are split."""

    source: DataSource
    path: str | None = None
    """Folder, file or Hub id; ``vader`` needs none."""
    domains: tuple[str, ...] | None = None
    """Keep only these domains, in this order; all of them, sorted by name, when left out."""
    text_column: str = "text"
    text_pair_column: str | None = None
    label_column: str = "label"
    domain_column: str | None = "domain"
    split_column: str | None = None
    split_file: str | None = None
    """CSV with ``domain,label,position,split`` for ``amazon_reviews``; a seeded split when left out."""
    validation_fraction: Fraction = 0.1
    test_fraction: Fraction = 0.2
    split_seed: int = 0
    max_length: Annotated[int, Field(ge=8, le=512)] = 128
    """Longest input in tokens; longer texts are cut."""


class TrainingConfig(Section):
    """One optimisation: AdamW, linear warm-up and decay, one batch of every domain in each step."""

    epochs: PositiveFloat = 3.0
    """Passes over as many examples as the training split has; may be a fraction."""
    learning_rate: PositiveFloat = 1e-4
    batch_size: PositiveInt = 16
    """Examples per domain in each step."""
    weight_decay: NonNegativeFloat = 0.01
    """Not applied to biases and layer-norm weights."""
    warmup_fraction: Fraction = 0.1
    max_grad_norm: PositiveFloat = 1.0
    precision: Precision = Precision.AUTO
    evaluations_per_epoch: PositiveInt = 2
    checkpoint_steps: PositiveInt = 100

    def is_evaluation(self, step: int, total_steps: int) -> bool:
        """Whether the model is validated after ``step`` steps: at even distances, the last time at the end."""
        evaluations = max(1, round(self.epochs * self.evaluations_per_epoch))
        return step * evaluations // total_steps > (step - 1) * evaluations // total_steps


class TeacherTrainingConfig(TrainingConfig):
    """The same settings with a teacher's defaults."""

    epochs: PositiveFloat = 2.0
    learning_rate: PositiveFloat = 5e-5


class TeacherConfig(Section):
    """The model to imitate: trained here on a pretrained encoder, or brought by the user."""

    base: Name | None = None
    """Pretrained encoder: a folder, a Hub id, or ``package:NAME`` for weights inside an installed package."""
    adopt: str | dict[str, str] | None = None
    """An already fine-tuned sequence classifier for all domains, or one per domain as ``{domain: folder}``."""
    trust_remote_code: bool = False
    training: TeacherTrainingConfig = TeacherTrainingConfig()

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.base is None) == (self.adopt is None) or self.adopt in ("", {}):
            raise ValueError("give exactly one of `base` (train a teacher) and `adopt` (bring your own)")
        return self


class StudentConfig(Section):
    """Shape and first weights of the student."""

    layers: PositiveInt | None = None
    """Number of encoder layers; left out only with ``init: checkpoint``."""
    hidden_size: PositiveInt | None = None
    """Width; the teacher's when left out. Another width needs ``init: random`` or ``checkpoint``."""
    attention_heads: PositiveInt | None = None
    """The teacher's number when left out; the attention term needs it to be equal."""
    intermediate_size: PositiveInt | None = None
    """Width of the feed-forward part; keeps the teacher's ratio to ``hidden_size`` when left out."""
    init: StudentInit = StudentInit.TEACHER_LAYERS
    teacher_layers: tuple[PositiveInt, ...] | None = None
    """1-based teacher layers to copy; evenly spaced, ending at the last, when left out."""
    checkpoint: Name | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.init is StudentInit.CHECKPOINT) != (self.checkpoint is not None):
            raise ValueError("`checkpoint` goes with `init: checkpoint`, and only with it")
        if self.init is StudentInit.CHECKPOINT:
            shape = {"layers", "hidden_size", "attention_heads", "intermediate_size"} & self._given()
            if shape:
                raise ValueError(f"the checkpoint decides the shape; remove {', '.join(sorted(shape))}")
        elif self.layers is None:
            raise ValueError("`layers` is missing")
        if self.teacher_layers is not None:
            if self.init is not StudentInit.TEACHER_LAYERS:
                raise ValueError("`teacher_layers` goes with `init: teacher_layers`")
            if len(self.teacher_layers) != self.layers:
                raise ValueError(f"`teacher_layers` names {len(self.teacher_layers)} layers, `layers` is {self.layers}")
        return self

    def _given(self) -> set[str]:
        return {name for name in self.model_fields_set if getattr(self, name) is not None}


class MethodConfig(Section):
    """The distillation objective (method.md sections 2 to 4)."""

    graph: GraphVariant = GraphVariant.UNIFORM
    hidden_weight: NonNegativeFloat = 0.1
    """Weight of the embedding, hidden and attention terms together."""
    prediction_weight: NonNegativeFloat = 10.0
    temperature: PositiveFloat = 1.0
    layer_map: tuple[PositiveInt, ...] | None = None
    """Teacher layer (1-based) that each student layer imitates; evenly spaced when left out."""


class ExportConfig(Section):
    """How the student becomes a bundle."""

    quantize: Literal["int8"] | None = "int8"
    target: Target = Target.AUTO
    backend: QuantizationBackend = QuantizationBackend.AUTO
    opset: Annotated[int, Field(ge=14, le=20)] = 17
    eval_examples_per_domain: PositiveInt = 1000
    """Test texts of each domain that travel in the bundle, so that accuracy can be measured on the device."""


class BenchConfig(Section):
    """How the bundle is measured."""

    threads: PositiveInt = 1
    rounds: PositiveInt = 5
    """Subjects take turns this many times over the texts, so that a slow minute hits all of them."""
    warmup_texts: PositiveInt = 50
    cold_starts: PositiveInt = 3
    max_texts: PositiveInt | None = None
    """Measure at most this many evaluation texts, stratified by domain; all of them when left out."""


class Recipe(Section):
    """Everything that decides a run."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
    """Name of the run folder below ``runs/``."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    data: DataConfig
    teacher: TeacherConfig
    student: StudentConfig
    method: MethodConfig = MethodConfig()
    training: TrainingConfig = TrainingConfig()
    export: ExportConfig = ExportConfig()
    bench: BenchConfig = BenchConfig()

    def section_hash(self, *sections: str) -> str:
        """Return one hash over the named sections and the seed: part of a stage's input hash."""
        return hash_of(self.model_dump(mode="json", include={*sections, "seed"}))

    def to_yaml(self) -> str:
        """Return the resolved recipe, every default spelled out, as YAML that reads back to an equal object."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

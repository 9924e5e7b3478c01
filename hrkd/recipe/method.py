"""Recipe section `method`: the distillation objective and its graph."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, NamedTuple, Self

from pydantic import Field, model_validator

from hrkd.recipe.base import Fraction, NonNegativeFloat, PositiveFloat, PositiveInt, Section


class GraphVariant(StrEnum):
    """How the domain ratios are computed (method.md section 6)."""

    UNIFORM = "uniform"
    """Every domain weighs 1/K: the control without a graph, at the same loss scale."""
    REFERENCE = "reference"
    """The released computation: hierarchical compare-aggregate and graph attention, frozen at random weights."""
    META = "meta"
    """A graph that can tell domains apart, trained on the prediction loss of the updated student on other batches."""


class Aggregate(StrEnum):
    """How the prototypes of the levels 0..l become one."""

    COMPARE = "compare"
    """Weighted by comparison with the reference prototype."""
    AVERAGE = "average"
    """Plain mean: the paper's ablation."""


class OuterLoss(StrEnum):
    """What the meta graph is trained for."""

    AVERAGE = "average"
    """The mean of the domains' prediction losses."""
    WORST = "worst"
    """The highest of them."""


class HiddenDistance(StrEnum):
    """How hidden states are compared."""

    MSE = "mse"
    """Mean squared error, as released."""
    NORMALIZED = "normalized"
    """Mean squared error after a layer norm without weights: levels of any scale count alike."""


class AttentionTerm(StrEnum):
    """What is compared of the attention."""

    SCORES = "scores"
    """Pre-softmax scores head by head; needs equal numbers of heads."""
    RELATIONS = "relations"
    """Self-attention relations among queries, keys and values (MiniLMv2); any widths and heads."""


class ExampleWeights(StrEnum):
    """How much each example counts in the imitation terms."""

    EQUAL = "equal"
    META_KD = "meta_kd"
    """Typical and well-taught examples count more (Meta-KD, arXiv 2012.01266)."""


class GraphConfig(Section):
    """The domain-relational graph."""

    variant: GraphVariant = GraphVariant.UNIFORM
    self_attention: bool = True
    """Off: the reference prototype of a domain is its own prototype (the paper's ablation)."""
    aggregate: Aggregate = Aggregate.COMPARE
    hierarchy: bool = True
    """Off: graph attention sees each level's own prototypes (the paper's ablation)."""
    learning_rate: PositiveFloat = 1e-2
    """``meta``: of the graph's own optimizer group; constant."""
    update_every: PositiveInt = 10
    """``meta``: steps between two outer updates."""
    floor: Fraction = 0.2
    """``meta``: part of the weight that is spread evenly, so that no ratio falls below ``floor / K``."""
    outer: OuterLoss = OuterLoss.AVERAGE
    """``meta``: what the ratios are trained for."""


class Phase(Section):
    """A part of the training with weights of its own; what is left out keeps the method's value."""

    until: Annotated[float, Field(gt=0.0, le=1.0)]
    """Fraction of all steps at which the phase ends."""
    hidden_weight: NonNegativeFloat | None = None
    attention_weight: NonNegativeFloat | None = None
    prediction_weight: NonNegativeFloat | None = None
    label_weight: NonNegativeFloat | None = None


class TermWeights(NamedTuple):
    """Weights of the four kinds of terms at one moment."""

    hidden: float
    attention: float
    prediction: float
    label: float


PRESETS: dict[str, dict[str, Any]] = {
    "released": {
        "graph": {"variant": GraphVariant.REFERENCE},
        "hidden_weight": 1.0,
        "attention_weight": 1.0,
        "prediction_weight": 1.0,
        "average_classes": True,
        "hidden": HiddenDistance.MSE,
    },
    "fine_tune": {"hidden_weight": 0.0, "attention_weight": 0.0, "prediction_weight": 0.0, "label_weight": 1.0},
    "logits": {"hidden_weight": 0.0, "attention_weight": 0.0, "prediction_weight": 1.0},
}
"""Objectives by name. A preset gives defaults; keys written beside it win."""


class MethodConfig(Section):
    """The distillation objective (method.md sections 2 to 4)."""

    preset: str | None = None
    """``released``, ``fine_tune`` (labels only, no teacher) or ``logits``: other defaults for the keys below."""
    graph: GraphConfig = GraphConfig()
    hidden_weight: NonNegativeFloat = 1.0
    """Weight of the embedding and hidden terms."""
    attention_weight: NonNegativeFloat = 0.0
    prediction_weight: NonNegativeFloat = 1.0
    label_weight: NonNegativeFloat = 0.0
    """Weight of the cross-entropy with the labels; examples without a label have none."""
    temperature: PositiveFloat = 1.0
    average_classes: bool = False
    """Divide the prediction term by the number of labels, as the released code does."""
    hidden: HiddenDistance = HiddenDistance.NORMALIZED
    attention: AttentionTerm = AttentionTerm.SCORES
    relation_heads: PositiveInt | None = None
    """Heads of the relations; the teacher's number when left out."""
    layer_map: tuple[PositiveInt, ...] | None = None
    """Teacher layer (1-based) that each student layer imitates; evenly spaced when left out."""
    levels: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    """Levels whose hidden states are compared (0 is the embedding output); all of them when left out."""
    phases: tuple[Phase, ...] = ()
    """Weights that change during training, e.g. imitation first, then prediction only, as in TinyBERT."""
    example_weights: ExampleWeights = ExampleWeights.EQUAL

    @model_validator(mode="before")
    @classmethod
    def _shorthands(cls, value: Any) -> Any:
        """Read ``graph: meta`` as ``{variant: meta}``, and put a preset under the written keys."""
        if not isinstance(value, Mapping):
            return value
        given = dict(value)
        if isinstance(given.get("graph"), str):
            given["graph"] = {"variant": given["graph"]}
        preset = given.get("preset")
        if preset is None:
            return given
        if not isinstance(preset, str) or preset not in PRESETS:
            raise ValueError(f"`preset` is {preset!r}; known: {', '.join(PRESETS)}")
        return {**PRESETS[preset], **given}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        ends = [phase.until for phase in self.phases]
        if ends != sorted(set(ends)) or (ends and ends[-1] != 1.0):
            raise ValueError(f"`phases` must end at rising fractions, the last at 1.0; got {ends}")
        for number, weights in enumerate(self.weights_by_phase(), start=1):
            if not any(weights):
                raise ValueError(f"all weights of phase {number} are 0: nothing would be learned")
        return self

    def weighs(self, term: str) -> bool:
        """Return whether a term (a field of :class:`TermWeights`) has a weight in any phase."""
        return any(getattr(weights, term) for weights in self.weights_by_phase())

    @property
    def imitates(self) -> bool:
        """Whether the student's inside is compared with the teacher's, so that a graph has something to weigh."""
        return self.weighs("hidden") or self.weighs("attention")

    def weights_by_phase(self) -> list[TermWeights]:
        """Return the weights of each phase, in order; one phase where the recipe names none."""
        own = {name: getattr(self, f"{name}_weight") for name in TermWeights._fields}
        changes = [
            {name: getattr(phase, f"{name}_weight") for name in TermWeights._fields} for phase in self.phases
        ] or [dict[str, float | None]()]
        return [TermWeights(**{**own, **{k: v for k, v in change.items() if v is not None}}) for change in changes]

    def weights_at(self, progress: float) -> TermWeights:
        """Return the weights in force after the fraction ``progress`` of all steps, in [0, 1)."""
        phase = sum(progress >= phase.until for phase in self.phases)
        return self.weights_by_phase()[phase]

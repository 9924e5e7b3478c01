"""The recipe: everything that decides a run, as frozen, strict objects; `hrkd.recipe_file` reads them from YAML.

One module per section; every default is written there and nowhere else. Building a recipe does no I/O.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

import yaml
from pydantic import Field, model_validator

from hrkd.artifact import hash_of
from hrkd.recipe.base import Section
from hrkd.recipe.data import DataConfig, DataSource
from hrkd.recipe.delivery import BenchConfig, ExportConfig, Quantization, QuantizationBackend
from hrkd.recipe.method import (
    Aggregate,
    AttentionTerm,
    ExampleWeights,
    GraphConfig,
    GraphVariant,
    HiddenDistance,
    MethodConfig,
    OuterLoss,
    Phase,
    TermWeights,
)
from hrkd.recipe.plan import PlanConfig, PlannedNumber
from hrkd.recipe.student import GeneralConfig, StudentConfig, StudentInit
from hrkd.recipe.training import (
    DistillationTrainingConfig,
    Precision,
    TeacherConfig,
    TeacherTrainingConfig,
    TrainingConfig,
)

__all__ = [
    "Aggregate",
    "AttentionTerm",
    "BenchConfig",
    "DataConfig",
    "DataSource",
    "DistillationTrainingConfig",
    "ExampleWeights",
    "ExportConfig",
    "GeneralConfig",
    "GraphConfig",
    "GraphVariant",
    "HiddenDistance",
    "MethodConfig",
    "OuterLoss",
    "Phase",
    "PlanConfig",
    "PlannedNumber",
    "Precision",
    "Quantization",
    "QuantizationBackend",
    "Recipe",
    "Section",
    "StudentConfig",
    "StudentInit",
    "TeacherConfig",
    "TeacherTrainingConfig",
    "TermWeights",
    "TrainingConfig",
]


_SAVING_MEMORY = {"micro_batches": True, "gradient_checkpointing": True}
_SAME_RESULT: Any = {
    "data": {"on_disk": True},
    "teacher": {"training": _SAVING_MEMORY},
    "student": {"general": _SAVING_MEMORY},
    "training": _SAVING_MEMORY | {"shard_teacher": True},
}
"""Settings that change how a result is reached, and not the result."""


class Recipe(Section):
    """Everything that decides a run."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
    """Name of the run folder below ``runs/``."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    data: DataConfig
    teacher: TeacherConfig
    student: StudentConfig
    method: MethodConfig = MethodConfig()
    training: DistillationTrainingConfig = DistillationTrainingConfig()
    export: ExportConfig = ExportConfig()
    bench: BenchConfig = BenchConfig()
    plan: PlanConfig | None = None
    """Written by `hrkd plan`; decides nothing."""

    @model_validator(mode="after")
    def _own_tokenizer_imitates_logits_only(self) -> Self:
        if self.student.own_tokenizer and self.method.imitates:
            raise ValueError(
                "a student with `own_tokenizer` can only imitate logits: set `method.preset: logits`, or "
                "`method.hidden_weight` and `method.attention_weight` to 0"
            )
        return self

    @model_validator(mode="after")
    def _shared_teacher_is_one_model_that_stays_whole_before(self) -> Self:
        if not self.training.shard_teacher:
            return self
        if isinstance(self.teacher.adopt, dict):
            raise ValueError(
                "`training.shard_teacher` does not go with a teacher of one classifier per domain (`teacher.adopt`)"
            )
        if self.student.general is not None and self.teacher.base is None:
            raise ValueError(
                "`training.shard_teacher` does not go with `student.general` and an adopted teacher, which both stages "
                "would imitate: remove one of the two"
            )
        return self

    def section_hash(self, *sections: str) -> str:
        """Return one hash over the named sections and the seed: part of a stage's input hash."""
        return hash_of(self.model_dump(mode="json", include={*sections, "seed"}, exclude=_SAME_RESULT))

    def to_yaml(self) -> str:
        """Return the resolved recipe, every default spelled out, as YAML that reads back to an equal object."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

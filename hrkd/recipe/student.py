"""Recipe section `student`."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Self

from pydantic import model_validator

from hrkd.recipe.base import Fraction, Name, PositiveFloat, PositiveInt, Section
from hrkd.recipe.presets import STUDENT_PRESETS, StudentShape
from hrkd.recipe.training import TrainingConfig


class StudentInit(StrEnum):
    """Where the student's first weights come from."""

    TEACHER_LAYERS = "teacher_layers"
    """Copies of chosen teacher layers; needs the teacher's width."""
    PRUNED_TEACHER = "pruned_teacher"
    """The same layers cut to the student's width: the most important heads, neurons and hidden features stay."""
    CHECKPOINT = "checkpoint"
    """A pretrained encoder folder or Hub id; decides the student's shape itself."""
    RANDOM = "random"


FROM_TEACHER = (StudentInit.TEACHER_LAYERS, StudentInit.PRUNED_TEACHER)


class GeneralConfig(TrainingConfig):
    """Task-agnostic distillation first: the fresh student imitates the pretrained encoder on texts without labels."""

    texts: Name | None = None
    """UTF-8 file with one text per line; the data's training texts when left out."""
    epochs: PositiveFloat = 1.0
    learning_rate: PositiveFloat = 3e-4
    batch_size: PositiveInt = 64
    """Texts in each step."""


class StudentConfig(Section):
    """Shape and first weights of the student."""

    preset: str | None = None
    """A shape by name (``tinybert-4x312``, ``3x384``, ...); numbers written beside it win."""
    layers: PositiveInt | None = None
    """Number of encoder layers; left out only with ``preset`` or ``init: checkpoint``."""
    hidden_size: PositiveInt | None = None
    """Width; the teacher's when left out. Another width needs another ``init`` than ``teacher_layers``."""
    attention_heads: PositiveInt | None = None
    """When left out: the teacher's number, or heads of the teacher's size where that does not divide the width."""
    intermediate_size: PositiveInt | None = None
    """Width of the feed-forward part; keeps the teacher's ratio to ``hidden_size`` when left out."""
    dropout: Fraction | None = 0.0
    """Of the student in training, everywhere; ``null`` keeps the teacher's. Noise keeps a student from its teacher."""
    init: StudentInit = StudentInit.TEACHER_LAYERS
    teacher_layers: tuple[PositiveInt, ...] | None = None
    """1-based teacher layers to copy or prune; evenly spaced, ending at the last, when left out."""
    checkpoint: Name | None = None
    own_tokenizer: bool = False
    """The checkpoint reads other tokens than the teacher: only logits can be imitated, each reads its own tokens."""
    per_domain: bool = False
    """One student per domain, equal at first: the baseline that shares nothing between domains."""
    general: GeneralConfig | None = None
    """``general: {}`` puts a task-agnostic stage before the distillation; none when left out."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in_preset(cls, value: Any) -> Any:
        """Put a preset's numbers where the recipe writes none."""
        if not isinstance(value, Mapping) or not isinstance(value.get("preset"), str):
            return value
        if value["preset"] not in STUDENT_PRESETS:
            raise ValueError(f"`preset` is {value['preset']!r}; known: {', '.join(STUDENT_PRESETS)}")
        if value.get("init") == StudentInit.CHECKPOINT:
            raise ValueError("the checkpoint decides the shape; remove preset")
        written = {key: entry for key, entry in value.items() if entry is not None}
        return {**STUDENT_PRESETS[value["preset"]]._asdict(), **written}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        from_checkpoint = self.init is StudentInit.CHECKPOINT
        if from_checkpoint != (self.checkpoint is not None):
            raise ValueError("`checkpoint` goes with `init: checkpoint`, and only with it")
        if self.own_tokenizer and not from_checkpoint:
            raise ValueError(
                "`own_tokenizer` goes with `init: checkpoint`: every other student reads the teacher's tokens"
            )
        shape = [name for name in StudentShape._fields if getattr(self, name) is not None]
        if from_checkpoint and shape:
            raise ValueError(f"the checkpoint decides the shape; remove {', '.join(sorted(shape))}")
        if not from_checkpoint and self.layers is None:
            raise ValueError("`layers` is missing; give it, or a `preset`")
        if self.teacher_layers is not None:
            if self.init not in FROM_TEACHER:
                raise ValueError(f"`teacher_layers` goes with `init: {'` or `init: '.join(FROM_TEACHER)}`")
            if len(self.teacher_layers) != self.layers:
                raise ValueError(f"`teacher_layers` names {len(self.teacher_layers)} layers, `layers` is {self.layers}")
        return self

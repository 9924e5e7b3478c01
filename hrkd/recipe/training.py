"""Recipe sections `teacher` and `training`."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from pydantic import model_validator

from hrkd.recipe.base import Fraction, Name, NonNegativeFloat, PositiveFloat, PositiveInt, Section


class Precision(StrEnum):
    """Number format of the training arithmetic; parameters stay float32."""

    AUTO = "auto"
    """bfloat16 where the device computes in it natively, float32 elsewhere."""
    BF16 = "bf16"
    FP32 = "fp32"


class TrainingConfig(Section):
    """One optimisation: AdamW, linear warm-up and decay, one batch of every domain in each step."""

    epochs: PositiveFloat = 3.0
    """Passes over as many examples as the training split has; may be a fraction."""
    learning_rate: PositiveFloat = 1e-4
    batch_size: PositiveInt = 16
    """Examples per domain in each step."""
    micro_batches: PositiveInt = 1
    """In how many parts a step's batch is computed, one after the other, to save memory; changes no result, and costs
    another forward pass. Raised by itself when memory runs out."""
    gradient_checkpointing: bool = False
    """Compute each layer's inner values again on the way back instead of keeping them: saves memory, changes no result,
    costs another forward pass."""
    weight_decay: NonNegativeFloat = 0.01
    """Not applied to biases and layer-norm weights."""
    warmup_fraction: Fraction = 0.1
    max_grad_norm: PositiveFloat = 1.0
    precision: Precision = Precision.AUTO
    evaluations_per_epoch: PositiveFloat = 2.0
    """Below 1 for many short epochs, e.g. 0.2 for one evaluation in five."""
    checkpoint_steps: PositiveInt = 100

    def is_evaluation(self, step: int, total_steps: int) -> bool:
        """Whether the model is validated after ``step`` steps: at even distances, the last time at the end."""
        evaluations = max(1, round(self.epochs * self.evaluations_per_epoch))
        return step * evaluations // total_steps > (step - 1) * evaluations // total_steps


class TeacherTrainingConfig(TrainingConfig):
    """The same settings with a teacher's defaults."""

    epochs: PositiveFloat = 2.0
    learning_rate: PositiveFloat = 5e-5


class DistillationTrainingConfig(TrainingConfig):
    """The same settings with a student's defaults."""

    learning_rate: PositiveFloat = 3e-4
    cache_teacher: bool = False
    """Run the teacher once over the training texts and keep what the student imitates on disk, in half precision."""
    shard_teacher: bool = False
    """Let the processes of a launcher hold the teacher together, a part of it each, instead of all of it each: for one
    that is too large for a GPU. Changes no result, and costs a message per layer; one process alone holds all of it."""


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

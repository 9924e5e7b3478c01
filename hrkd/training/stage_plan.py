"""What a training works on: its examples, their order, and the settings of its optimisation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from hrkd.data.batches import DomainBatches
from hrkd.data.collate import Batch, TokenizedExamples
from hrkd.device import Device
from hrkd.metrics import DomainScores
from hrkd.recipe import TrainingConfig
from hrkd.training.optimization import OuterSchedule
from hrkd.training.shares import own_rows


@dataclass(frozen=True, slots=True)
class Stage:
    """What the loop needs to know besides the objective.

    Attributes:
        name: ``teacher`` or ``student``.
        input_hash: Of everything that decides the result.
        state_folder: Where the unfinished state is kept.
        domain_names: K names.
        examples: Tokenised training split.
        batches: Which examples each step of one process alone would see.
        validate: Scores the present model on the validation split.
        config: Hyperparameters.
        device: Where to run.
        outer: When and how parameters apart from the inner loss are trained; None where there are none.
    """

    name: str
    input_hash: str
    state_folder: Path
    domain_names: tuple[str, ...]
    examples: TokenizedExamples
    batches: DomainBatches
    validate: Callable[[], DomainScores]
    config: TrainingConfig
    device: Device
    outer: OuterSchedule | None = None

    @property
    def total_steps(self) -> int:
        """Steps of the whole stage."""
        return max(1, math.ceil(self.batches.steps_per_epoch * self.config.epochs))

    def of_processes(self, number: int) -> Stage:
        """Return the stage with batches for ``number`` processes: as many times larger, and so fewer steps."""
        if number == 1:
            return self
        outer = self.outer and replace(self.outer, batches=self.outer.batches.enlarged(number))
        return replace(self, batches=self.batches.enlarged(number), outer=outer)

    def batch(self, batches: DomainBatches, step: int) -> Batch:
        """Return this process's rows of a step, on the CPU."""
        return self.examples.batch(own_rows(batches.indices(step), batches.num_domains))

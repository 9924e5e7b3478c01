"""One training step, timed: what every contestant does alike, and ours."""

from __future__ import annotations

# ruff: noqa: TID253  (training is what is measured here)
import time
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hrkd.data.collate import Batch, TokenizedExamples
from hrkd.device import Device
from hrkd.models import MultiDomainClassifier
from hrkd.recipe import MethodConfig, TrainingConfig
from hrkd.training.objective import DistillationObjective
from hrkd.training.optimization import build_optimizer
from hrkd.training.teacher_outputs import LiveTeacher

Indices = NDArray[np.int64]


class Contestant(Protocol):
    """Something that trains a student."""

    name: str

    def step(self, indices: Indices) -> None:
        """Do one optimisation step on the examples at ``indices``, from token ids to new weights."""
        ...


class Optimization:
    """Backward pass, clipping and AdamW, the same for all.

    Args:
        trainable: Student and what trains beside it.
        config: Hyperparameters.
    """

    def __init__(self, trainable: nn.Module, config: TrainingConfig) -> None:
        self.optimizer = build_optimizer(trainable, config)
        self.parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        self.max_grad_norm = config.max_grad_norm

    def apply(self, loss: Tensor) -> None:
        """Take one step down ``loss``."""
        loss.item()  # every loop reads it for its log and its check for NaN
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


class HrkdStep:
    """Our step: all domains in one pass, padded to their longest text, scores of the mapped layers only.

    Args:
        name: For the tables.
        teacher: On the device.
        student: On the device; trained.
        method: The objective.
        examples: Tokenised texts.
        device: Where to run, and in which number format.
        config: Hyperparameters.
    """

    def __init__(
        self,
        name: str,
        teacher: MultiDomainClassifier,
        student: MultiDomainClassifier,
        method: MethodConfig,
        examples: TokenizedExamples,
        device: Device,
        config: TrainingConfig,
    ) -> None:
        self.name, self.examples, self.device = name, examples, device
        self.objective = DistillationObjective(teacher, student, method)
        if self.objective.wanted is not None:
            self.objective.listen(LiveTeacher(teacher, self.objective.wanted))
        self.objective.trainable.to(device.device).train()
        self.optimization = Optimization(self.objective.trainable, config)

    def step(self, indices: Indices) -> None:
        """Do one step."""
        self.optimization.apply(self.loss(self.examples.batch(indices).to(self.device.device)))

    def loss(self, batch: Batch) -> Tensor:
        """Return the objective on a batch."""
        with self.device.autocast():
            return self.objective(batch, 0.0).loss


def pad_to(batch: Batch, length: int, pad_id: int) -> Batch:
    """Return the batch with rows of ``length`` tokens."""
    missing = length - batch.input_ids.shape[1]
    pad = nn.functional.pad
    return Batch(
        pad(batch.input_ids, (0, missing), value=pad_id),
        pad(batch.attention_mask, (0, missing)),
        batch.domain_ids,
        batch.labels,
        batch.indices,
    )


class Taken(NamedTuple):
    """Seconds of some steps: on the clock, and of the processor, which other programs disturb less."""

    wall: float
    processor: float


def seconds_of(contestant: Contestant, steps: Sequence[Indices], device: torch.device) -> Taken:
    """Time some steps, the device's queue emptied before and after."""
    wait_for(device)
    start, processor = time.perf_counter(), time.process_time()
    for indices in steps:
        contestant.step(indices)
    wait_for(device)
    return Taken(time.perf_counter() - start, time.process_time() - processor)


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)

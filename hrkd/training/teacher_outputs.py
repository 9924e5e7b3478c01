"""What the student imitates of the teacher: computed for every batch, or once for all texts and kept on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from hrkd.data.collate import Batch
from hrkd.models import Teacher
from hrkd.models.attention_scores import AttentionRecord


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which of a teacher's outputs an objective needs besides the logits.

    Attributes:
        layers: The mapped teacher layers, 1-based, one per student layer.
        hidden_states: Whether those of the embedding output and of ``layers``.
        attention: Whether queries, keys and values of ``layers``.
    """

    layers: tuple[int, ...]
    hidden_states: bool = True
    attention: bool = True


@dataclass(frozen=True, slots=True)
class TeacherOutput:
    """The teacher's answer to one batch.

    Attributes:
        logits: (K*B, C).
        hidden_states: One (K*B, T, H) per level 0..L of the student: the embedding output, then the mapped layers.
        attention: One record per mapped layer, (K*B, T, A*d) each.
    """

    logits: Tensor
    hidden_states: Sequence[Tensor] = ()
    attention: Sequence[AttentionRecord] = ()


class TeacherOutputs(Protocol):
    """Answers batches of the training split."""

    def __call__(self, batch: Batch) -> TeacherOutput:
        """Return the teacher's outputs for a batch, without gradients."""
        ...


class LiveTeacher:
    """Runs the teacher on every batch; it is frozen and in evaluation mode.

    Args:
        model: On the device of the batches.
        wanted: What to return.
    """

    def __init__(self, model: Teacher, wanted: Wanted) -> None:
        self.model = model.eval().requires_grad_(requires_grad=False)
        self.wanted = wanted

    @torch.no_grad()
    def __call__(self, batch: Batch) -> TeacherOutput:
        """Run the teacher's forward pass."""
        wanted = self.wanted
        output = self.model(
            batch.input_ids,
            batch.attention_mask,
            batch.domain_ids,
            hidden_states=wanted.hidden_states,
            attention_layers=wanted.layers if wanted.attention else (),
        )
        states = [output.hidden_states[level] for level in (0, *wanted.layers)] if wanted.hidden_states else []
        return TeacherOutput(output.logits, states, output.attention)

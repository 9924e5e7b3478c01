"""The plain loop of distillation code: domain by domain, all attention scores, texts padded to one length or per batch.

Written for this comparison from method.md; it computes the same objective as ours, which :func:`disagreement` checks.
"""

from __future__ import annotations

# ruff: noqa: TID253  (training is what is measured here)
import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hrkd.data.collate import Batch, TokenizedExamples
from hrkd.device import Device
from hrkd.errors import BenchError
from hrkd.models import MultiDomainClassifier
from hrkd.recipe import HiddenDistance, MethodConfig, TrainingConfig
from speed.train_eager import EagerClassifier, EagerOutput
from speed.train_steps import HrkdStep, Indices, Optimization, pad_to


class PlainLoop:
    """One forward pass of teacher and student per domain, then one backward pass of the summed loss.

    Args:
        name: For the tables.
        ours: Gives projections, graph and layer map, so that both start from the same weights.
        teacher: Model to imitate.
        student: Model to train; copied.
        examples: Tokenised texts.
        length: Every text is padded to it, in tokens; None pads to the longest of a domain's batch.
        config: Hyperparameters.
    """

    def __init__(
        self,
        name: str,
        ours: HrkdStep,
        teacher: MultiDomainClassifier,
        student: MultiDomainClassifier,
        examples: TokenizedExamples,
        length: int | None,
        config: TrainingConfig,
    ) -> None:
        imitation = ours.objective.imitation
        if imitation is None:
            raise ValueError("the plain loop imitates hidden states; this objective does not")
        self.name, self.examples, self.length = name, examples, length
        self.device: Device = ours.device
        self.method: MethodConfig = ours.objective.config
        self.layer_map = imitation.layer_map
        self.num_domains = student.num_domains
        self.teacher = EagerClassifier(teacher).to(self.device.device).eval().requires_grad_(requires_grad=False)
        self.trainable = nn.ModuleDict(
            {
                "student": EagerClassifier(student),
                "projections": copy.deepcopy(imitation.projections),
                "graph": copy.deepcopy(ours.objective.graph),
            }
        ).to(self.device.device)
        self.trainable.train()
        self.optimization = Optimization(self.trainable, config)

    def step(self, indices: Indices) -> None:
        """Do one step."""
        self.optimization.apply(self.loss(self.examples.batch(indices).to(self.device.device)))

    def loss(self, batch: Batch) -> Tensor:
        """Return the objective on a batch, padded to the fixed length where there is one."""
        padded = batch if self.length is None else pad_to(batch, self.length, self.examples.pad_id)
        imitation, prediction, prototypes = [], [], []
        for domain in range(self.num_domains):
            rows = padded.domain_ids == domain
            longest = int(padded.attention_mask[rows].sum(dim=1).max()) if self.length is None else self.length
            mask = padded.attention_mask[rows, :longest]
            student, teacher = self._forward(padded.input_ids[rows, :longest], mask, padded.domain_ids[rows])
            with torch.autocast(mask.device.type, enabled=False):
                prediction.append(self._prediction(student.logits.float(), teacher.logits.float()))
            levels = self._levels(student, teacher, mask)
            imitation.append(torch.stack([term for term, _ in levels]))
            prototypes.append(torch.stack([prototype for _, prototype in levels]))
        ratios = self.trainable["graph"](torch.stack(prototypes, dim=1)).domain_ratios  # (L+1, K)
        weighted = (ratios * torch.stack(imitation, dim=1)).sum()
        return weighted + self.method.prediction_weight * torch.stack(prediction).mean()

    def _forward(self, *inputs: Tensor) -> tuple[EagerOutput, EagerOutput]:
        with self.device.autocast():
            with torch.no_grad():
                teacher = self.teacher(*inputs)
            return self.trainable["student"](*inputs), teacher

    def _levels(self, student: EagerOutput, teacher: EagerOutput, mask: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return per level the weighted imitation term of one domain, and its prototype (H,)."""
        found = []
        tokens = mask.sum()
        for level, state in enumerate(student.hidden_states):
            wanted = teacher.hidden_states[0 if level == 0 else self.layer_map[level - 1]].float()
            with self.device.autocast():
                projected = self.trainable["projections"][level](state)
            own = projected.float()
            prototype = (own * mask.unsqueeze(-1)).sum(dim=(0, 1)) / tokens
            if self.method.hidden is HiddenDistance.NORMALIZED:
                own, wanted = (F.layer_norm(states, states.shape[-1:]) for states in (own, wanted))
            error = ((own - wanted).square().mean(dim=-1) * mask).sum() / tokens
            term = self.method.hidden_weight * error
            if level and self.method.attention_weight:
                scores = teacher.scores[self.layer_map[level - 1] - 1]
                term = term + self.method.attention_weight * _attention_error(student.scores[level - 1], scores, mask)
            found.append((term, prototype))
        return found

    def _prediction(self, student: Tensor, teacher: Tensor) -> Tensor:
        per_class = -teacher.softmax(dim=-1) * student.log_softmax(dim=-1)
        return per_class.mean() if self.method.average_classes else per_class.sum(dim=-1).mean()


def _attention_error(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error of scores (B, A, T, T) over heads and pairs of real tokens."""
    pairs = mask.unsqueeze(1) * mask.unsqueeze(2)
    error = F.mse_loss(student.float(), teacher.float(), reduction="none").mean(dim=1)
    return (error * pairs).sum() / pairs.sum()


MOST_DISAGREEMENT = 1e-4
"""Share of the loss; more, and the two do not do the same work."""


def check_agreement(ours: HrkdStep, loop: PlainLoop, batch: Batch) -> float:
    """Return :func:`disagreement`, or refuse to compare speeds.

    Raises:
        BenchError: The losses differ.
    """
    apart = disagreement(ours, loop, batch)
    if not apart <= MOST_DISAGREEMENT:  # NaN is no agreement either
        raise BenchError(f"our loss and the plain loop's differ by a share of {apart:.1e}: not the same work")
    return apart


@torch.no_grad()
def disagreement(ours: HrkdStep, loop: PlainLoop, batch: Batch) -> float:
    """Return by which share the two losses differ on one batch, both padded alike and without dropout.

    Args:
        ours: Not trained yet.
        loop: Not trained yet.
        batch: B examples of each domain.
    """
    padded = batch if loop.length is None else pad_to(batch, loop.length, loop.examples.pad_id)
    modules = (ours.objective.trainable, loop.trainable)
    for module in modules:
        module.eval()
    first, second = (float(contestant.loss(padded)) for contestant in (ours, loop))
    for module in modules:
        module.train()
    return abs(first - second) / abs(first)

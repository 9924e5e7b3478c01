"""What the student minimises: the complete HRKD objective on one batch of all domains."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hrkd.data.collate import Batch
from hrkd.device import present_autocast, trained_attention
from hrkd.distributed import average_over_ranks
from hrkd.losses import (
    LossTerms,
    combine_terms,
    label_cross_entropy,
    labelled_counts,
    mean_over_ranks,
    soft_cross_entropy,
)
from hrkd.models import ClassifierOutput, Teacher
from hrkd.recipe import GraphVariant, MethodConfig, TermWeights
from hrkd.relation import GraphOutput, build_graph, domain_prototypes
from hrkd.training.gradients import in_parts, of_the_whole
from hrkd.training.imitation import Imitation
from hrkd.training.outer import outer_direction, outer_loss, ratio_gradient, ratio_surrogate, without_noise
from hrkd.training.shares import Comparison, common_noise, row_counts, whole_comparison
from hrkd.training.step import StepResult
from hrkd.training.teacher_outputs import TeacherOutput, TeacherOutputs, Wanted


class DistillationObjective:
    """The complete HRKD objective (method.md section 4) on one domain-balanced batch.

    Student, projections and graph are one module, so that no parameter can be left out of the optimizer. A term of
    weight 0 is not computed, and without a term that needs the teacher it is not asked.

    Args:
        teacher: Model to imitate; only its shape is used here.
        student: Model to train.
        config: Weights, temperature, graph and layer map.

    Raises:
        RecipeError: The layer map or the number of attention heads does not fit.
    """

    def __init__(self, teacher: Teacher, student: Teacher, config: MethodConfig) -> None:
        self.model = student
        self.config = config
        self.outputs: TeacherOutputs | None = None
        self.example_weights: Tensor | None = None
        parts: dict[str, nn.Module] = {"student": student}
        self.imitation = Imitation(teacher, student, config) if config.imitates else None
        if self.imitation is not None:
            self.graph = build_graph(config.graph, student.num_layers + 1, student.num_domains, teacher.hidden_size)
            parts |= {"projections": self.imitation.projections, "graph": self.graph}
        self.trainable: nn.Module = nn.ModuleDict(parts)

    @property
    def wanted(self) -> Wanted | None:
        """What has to be known of the teacher's answers; None for a student that learns from labels alone."""
        if self.imitation is not None:
            return self.imitation.wanted()
        return Wanted((), hidden_states=False, attention=False) if self.config.weighs("prediction") else None

    def listen(self, outputs: TeacherOutputs | None, example_weights: Tensor | None = None) -> None:
        """Connect the teacher.

        Args:
            outputs: Answers batches with what :attr:`wanted` names.
            example_weights: (n,) relative weights of the training texts in the imitation terms; equal when left out.
        """
        self.outputs = outputs
        self.example_weights = example_weights

    def __call__(self, batch: Batch, progress: float) -> StepResult:
        """Run teacher and student once over all domains and compare them.

        Args:
            batch: B examples of each of the K domains, in domain order.
            progress: Fraction of all steps done, in [0, 1): decides the phase.
        """
        weights = self.config.weights_at(progress)
        asks = weights.hidden or weights.attention or weights.prediction
        terms, prototypes = self._compare(batch, self._ask(batch) if asks else None, weights)
        if prototypes is None:
            return StepResult(combine_terms(terms, torch.zeros_like(terms.hidden), weights), terms.means(weights))
        output = self._graph(prototypes)
        # The meta graph must not learn to make this loss small: it would favour the easiest domain.
        trained_outside = self.config.graph.variant is GraphVariant.META
        ratios = output.domain_ratios.detach() if trained_outside else output.domain_ratios
        return StepResult(
            combine_terms(terms, ratios, weights), terms.means(weights), ratios.detach(), output.hierarchical_ratios
        )

    def outer(
        self, batch: Batch, held_out: Batch, progress: float, learning_rate: float, number: int = 1
    ) -> dict[str, Tensor]:
        """Leave gradients of the outer objective on the graph's parameters, and on nothing else.

        Args:
            batch: The batch of the step just done.
            held_out: Another batch of all domains.
            progress: As in :meth:`__call__`.
            learning_rate: Of the step just done.
            number: Parts in which each batch is computed, one after the other; at most B.

        Returns:
            Detached scalars for the log.
        """
        weights = self.config.weights_at(progress)
        if not (weights.hidden or weights.attention):
            return {}
        num_domains, as_now = self.model.num_domains, present_autocast(batch.input_ids.device)
        pieces = in_parts(batch, num_domains, number)
        answer = self._ask(batch) if number == 1 else None  # that of a whole batch may not fit
        with without_noise(self.model):
            loss, direction = self._outer_direction(in_parts(held_out, num_domains, number))
        seen: list[Tensor] = []

        def compare(piece: Batch) -> Comparison:
            if answer is not None:
                return self._compare(piece, answer, weights)
            with as_now:  # which the difference is taken without
                own = self._ask(piece)
            return self._compare(piece, own, weights)

        def imitation() -> Tensor:
            terms, prototypes = next(of_the_whole(compare, pieces))
            seen.extend([] if prototypes is None else [prototypes])
            return terms.imitation(weights)

        gradient = ratio_gradient(self.model, direction, imitation, learning_rate)
        ratio_surrogate(gradient, self._graph(seen[-1]).domain_ratios).backward()
        return {"outer": loss}

    def _outer_direction(self, pieces: Sequence[Batch]) -> tuple[Tensor, list[Tensor]]:
        """Return the outer loss of the parts of a batch, detached, and its gradient."""
        direction: list[Tensor] = []
        for prediction in of_the_whole(self._prediction, pieces):
            loss = outer_loss(prediction, self.config.graph.outer)
            own = outer_direction(loss / len(pieces), self.model)
            direction = [total + part for total, part in zip(direction, own, strict=True)] if direction else own
        return loss.detach(), average_over_ranks(direction)

    def _graph(self, prototypes: Tensor) -> GraphOutput:
        with common_noise(prototypes.device):
            output: GraphOutput = self.graph(prototypes)
        return output

    def _ask(self, batch: Batch) -> TeacherOutput | None:
        return None if self.outputs is None else self.outputs(batch)

    def _prediction(self, batch: Batch) -> Tensor:
        """Return the prediction terms (K,) on a batch: what the meta graph is to improve."""
        answer, num_domains = self._ask(batch), self.model.num_domains
        with trained_attention(batch.input_ids.device):
            logits = self.model(batch.input_ids, batch.attention_mask, batch.domain_ids).logits
        if answer is None:
            own = label_cross_entropy(logits, batch.labels, num_domains)
            count = labelled_counts(batch.labels, num_domains)
        else:
            own = soft_cross_entropy(logits, answer.logits, num_domains, self.config.temperature)
            count = row_counts(batch.labels, num_domains)
        return mean_over_ranks([own], [count])[0]

    def _compare(self, batch: Batch, teacher: TeacherOutput | None, weights: TermWeights) -> Comparison:
        """Run the student on the own rows and return every term that has a weight now, of all processes' rows."""
        imitates = self.imitation is not None and bool(weights.hidden or weights.attention)
        with trained_attention(batch.input_ids.device):
            student: ClassifierOutput = self.model(
                batch.input_ids,
                batch.attention_mask,
                batch.domain_ids,
                hidden_states=imitates,
                attention_layers=range(1, self.model.num_layers + 1) if weights.attention else (),
            )
        projected = self.imitation.project(student.hidden_states) if self.imitation and imitates else []
        num_domains = self.model.num_domains
        example_weights = None if self.example_weights is None else self.example_weights[batch.indices]
        with torch.autocast(batch.input_ids.device.type, enabled=False):
            terms = self._terms(batch, student, projected, teacher, weights, example_weights)
            prototypes = self._prototypes(projected, batch.attention_mask) if projected else None
            own = Comparison(terms, prototypes)
            return whole_comparison(own, batch, num_domains, self.config.attention, example_weights)

    def _prototypes(self, projected: list[Tensor], mask: Tensor) -> Tensor:
        """Return P as far as the graph reads it: (L+1, K, H), or (L+1, K, 0)."""
        if self.graph.reads_prototypes:
            return domain_prototypes(projected, mask, self.model.num_domains)
        return projected[0].new_zeros(len(projected), self.model.num_domains, 0)

    def _terms(
        self,
        batch: Batch,
        student: ClassifierOutput,
        projected: list[Tensor],
        teacher: TeacherOutput | None,
        weights: TermWeights,
        example_weights: Tensor | None,
    ) -> LossTerms:
        config, num_domains, mask = self.config, self.model.num_domains, batch.attention_mask
        nothing = torch.zeros(self.model.num_layers + 1, num_domains, device=mask.device)
        hidden, attention, prediction, label = nothing, nothing, nothing[0], nothing[0]
        if self.imitation is not None and teacher is not None:
            if weights.hidden:
                hidden = self.imitation.hidden(projected, teacher, mask, example_weights)
            if weights.attention:
                attention = self.imitation.attention(student, teacher, mask, example_weights)
        if weights.prediction and teacher is not None:
            prediction = soft_cross_entropy(student.logits, teacher.logits, num_domains, config.temperature)
            prediction = prediction / student.logits.shape[-1] if config.average_classes else prediction
        if weights.label:
            label = label_cross_entropy(student.logits, batch.labels, num_domains)
        return LossTerms(hidden, attention, prediction, label)

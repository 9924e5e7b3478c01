"""What the student minimises: the complete HRKD objective on one batch of all domains."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hrkd.data.collate import Batch
from hrkd.errors import RecipeError
from hrkd.losses import LossTerms, combine_terms, imitation_terms, soft_cross_entropy
from hrkd.models import ClassifierOutput, MultiDomainClassifier, Teacher
from hrkd.models.layer_map import resolve_layer_map
from hrkd.recipe import MethodConfig
from hrkd.relation import build_graph, domain_prototypes
from hrkd.training.loop import StepResult


class DistillationObjective:
    """The complete HRKD objective (method.md section 4) on one domain-balanced batch.

    The teacher is frozen and in evaluation mode; student, projections and graph are one module, so that no parameter
    can be left out of the optimizer.

    Args:
        teacher: Model to imitate.
        student: Model to train.
        config: Weights, temperature, graph and layer map.

    Raises:
        RecipeError: The layer map or the number of attention heads does not fit.
    """

    def __init__(self, teacher: Teacher, student: MultiDomainClassifier, config: MethodConfig) -> None:
        self.teacher = teacher.eval().requires_grad_(requires_grad=False)
        self.model = student
        self.config = config
        self.layer_map = resolve_layer_map(
            config.layer_map, student.num_layers, teacher.num_layers, key="method.layer_map"
        )
        _check_heads(teacher, student)
        levels = student.num_layers + 1
        self.projections = nn.ModuleList(projection(student.hidden_size, teacher.hidden_size) for _ in range(levels))
        self.graph = build_graph(config.graph, levels, student.num_domains, teacher.hidden_size)
        self.trainable: nn.Module = nn.ModuleDict(
            {"student": student, "projections": self.projections, "graph": self.graph}
        )

    def __call__(self, batch: Batch) -> StepResult:
        """Run teacher and student once over all domains and compare them."""
        with torch.no_grad():
            teacher = self._forward(self.teacher, batch, self.layer_map)
        student = self._forward(self.model, batch, range(1, self.model.num_layers + 1))
        projected = [project(state) for project, state in zip(self.projections, student.hidden_states, strict=True)]
        with torch.autocast(batch.input_ids.device.type, enabled=False):
            return self._compare(projected, student, teacher, batch)

    def _forward(self, model: Teacher, batch: Batch, layers: tuple[int, ...] | range) -> ClassifierOutput:
        output: ClassifierOutput = model(
            batch.input_ids, batch.attention_mask, batch.domain_ids, hidden_states=True, score_layers=layers
        )
        return output

    def _compare(
        self, projected: list[Tensor], student: ClassifierOutput, teacher: ClassifierOutput, batch: Batch
    ) -> StepResult:
        num_domains, mask = self.model.num_domains, batch.attention_mask
        hidden, attention = imitation_terms(
            projected,
            [teacher.hidden_states[level] for level in (0, *self.layer_map)],
            student.attention_scores,
            teacher.attention_scores,
            mask,
            num_domains,
        )
        prediction = soft_cross_entropy(student.logits, teacher.logits, num_domains, self.config.temperature)
        terms = LossTerms(hidden, attention, prediction)
        ratios = self.graph(domain_prototypes(projected, mask, num_domains)).domain_ratios
        loss = combine_terms(
            terms,
            ratios,
            hidden_weight=self.config.hidden_weight,
            prediction_weight=self.config.prediction_weight,
        )
        return StepResult(loss, terms.means(), ratios.detach())


def projection(student_width: int, teacher_width: int) -> nn.Linear:
    """Return the linear map from student to teacher width of one level, the identity at first where they are equal.

    A student made of teacher layers starts close to the teacher; a random map would throw that away
    (docs/decisions.md).
    """
    layer = nn.Linear(student_width, teacher_width)
    if student_width == teacher_width:
        nn.init.eye_(layer.weight)
        nn.init.zeros_(layer.bias)
    return layer


def _check_heads(teacher: Teacher, student: MultiDomainClassifier) -> None:
    teacher_heads, student_heads = (model.encoder_config.num_attention_heads for model in (teacher, student))
    if teacher_heads != student_heads:
        raise RecipeError(
            f"the student has {student_heads} attention heads, the teacher {teacher_heads}: "
            "the attention term compares head by head",
            hint=f"set `student.attention_heads: {teacher_heads}`",
        )

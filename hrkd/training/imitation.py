"""The imitation terms of one batch: hidden states through projections, and attention, level by level."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hrkd.errors import RecipeError
from hrkd.losses import attention_error, hidden_error, relation_error
from hrkd.models import ClassifierOutput, Teacher
from hrkd.models.attention_scores import AttentionRecord, attention_scores, check_attention_scores
from hrkd.models.layer_map import resolve_layer_map
from hrkd.recipe import AttentionTerm, HiddenDistance, MethodConfig
from hrkd.training.teacher_outputs import TeacherOutput, Wanted


class Imitation:
    """Compares the student's levels with the teacher's.

    Args:
        teacher: Only its shape is used.
        student: Only its shape is used.
        config: Which levels, which distances.

    Raises:
        RecipeError: The layer map, the levels or the heads do not fit.
    """

    def __init__(self, teacher: Teacher, student: Teacher, config: MethodConfig) -> None:
        self.config = config
        self.num_domains = student.num_domains
        self.layers = student.num_layers
        self.layer_map = resolve_layer_map(
            config.layer_map, student.num_layers, teacher.num_layers, key="method.layer_map"
        )
        self.levels = _check_levels(config.levels, student.num_layers)
        self.student_heads, self.teacher_heads = (
            int(model.encoder_config.num_attention_heads) for model in (student, teacher)
        )
        self.relation_heads = config.relation_heads or self.teacher_heads
        if config.weighs("attention"):
            if config.attention is AttentionTerm.SCORES:
                check_attention_scores(teacher.encoder_config, role="teacher")
                check_attention_scores(student.encoder_config, role="student")
            _check_heads(self, student.hidden_size, teacher.hidden_size)
        self.projections = nn.ModuleList(
            projection(student.hidden_size, teacher.hidden_size) for _ in range(student.num_layers + 1)
        )

    def wanted(self) -> Wanted:
        """Return what has to be known of the teacher."""
        return Wanted(
            self.layer_map,
            hidden_states=self.config.weighs("hidden"),
            attention=self.config.weighs("attention"),
        )

    def project(self, hidden_states: Sequence[Tensor]) -> list[Tensor]:
        """Bring the student's L+1 hidden states to the teacher's width."""
        return [project(state) for project, state in zip(self.projections, hidden_states, strict=True)]

    def hidden(
        self, projected: list[Tensor], teacher: TeacherOutput, mask: Tensor, example_weights: Tensor | None
    ) -> Tensor:
        """Return the hidden terms (L+1, K); zero at levels that the recipe leaves out."""
        normalize = self.config.hidden is HiddenDistance.NORMALIZED
        rows = [
            hidden_error(student, wanted, mask, self.num_domains, normalize=normalize, example_weights=example_weights)
            if level in self.levels
            else mask.new_zeros(self.num_domains, dtype=torch.float32)
            for level, (student, wanted) in enumerate(zip(projected, teacher.hidden_states, strict=True))
        ]
        return torch.stack(rows)

    def attention(
        self, student: ClassifierOutput, teacher: TeacherOutput, mask: Tensor, example_weights: Tensor | None
    ) -> Tensor:
        """Return the attention terms (L+1, K); row 0 is zero."""
        compare = self._relations if self.config.attention is AttentionTerm.RELATIONS else self._scores
        rows = [
            compare(own, wanted, mask, example_weights)
            for own, wanted in zip(student.attention, teacher.attention, strict=True)
        ]
        return torch.stack([torch.zeros_like(rows[0]), *rows])

    def _scores(
        self, student: AttentionRecord, teacher: AttentionRecord, mask: Tensor, example_weights: Tensor | None
    ) -> Tensor:
        own = attention_scores(student.query, student.key, self.student_heads)
        wanted = attention_scores(teacher.query, teacher.key, self.teacher_heads)
        return attention_error(own, wanted, mask, self.num_domains, example_weights=example_weights)

    def _relations(
        self, student: AttentionRecord, teacher: AttentionRecord, mask: Tensor, example_weights: Tensor | None
    ) -> Tensor:
        errors = [
            relation_error(
                own, wanted, mask, self.num_domains, heads=self.relation_heads, example_weights=example_weights
            )
            for own, wanted in zip(student, teacher, strict=True)
        ]
        return torch.stack(errors).sum(dim=0)


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


def _check_levels(levels: Sequence[int] | None, student_layers: int) -> tuple[int, ...]:
    known = tuple(range(student_layers + 1))
    if levels is None:
        return known
    if not levels or not set(levels) <= set(known):
        raise RecipeError(f"`method.levels` is {list(levels)}, the student has the levels 0 to {student_layers}")
    return tuple(levels)


def _check_heads(imitation: Imitation, student_width: int, teacher_width: int) -> None:
    if imitation.config.attention is AttentionTerm.SCORES:
        if imitation.student_heads != imitation.teacher_heads:
            raise RecipeError(
                f"the student has {imitation.student_heads} attention heads, the teacher {imitation.teacher_heads}: "
                "attention scores are compared head by head",
                hint=f"set `method.attention: relations`, or `student.attention_heads: {imitation.teacher_heads}`",
            )
        return
    for name, width in (("student", student_width), ("teacher", teacher_width)):
        if width % imitation.relation_heads:
            raise RecipeError(
                f"the {name}'s width {width} is not a multiple of {imitation.relation_heads} relation heads",
                hint="set `method.relation_heads` to a common divisor of both widths",
            )

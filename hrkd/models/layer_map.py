"""Which teacher layer a student layer imitates, or is copied from."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hrkd.errors import RecipeError


def even_layer_map(student_layers: int, teacher_layers: int) -> tuple[int, ...]:
    """Return evenly spaced 1-based teacher layers that end at the last: student layer l gets ``round(l * N / L)``."""
    return tuple(round(layer * teacher_layers / student_layers) for layer in range(1, student_layers + 1))


def resolve_layer_map(
    given: Sequence[int] | None, student_layers: int, teacher_layers: int, *, key: str
) -> tuple[int, ...]:
    """Return the layer map that a recipe asks for, evenly spaced where it names none.

    Raises:
        RecipeError: The student is deeper than the teacher, or see :func:`check_layer_map`.
    """
    if student_layers > teacher_layers:
        raise RecipeError(f"`student.layers` is {student_layers}, the teacher has {teacher_layers}")
    if given is None:
        return even_layer_map(student_layers, teacher_layers)
    return check_layer_map(given, student_layers, teacher_layers, key=key)


def check_layer_map(layers: Sequence[int], student_layers: int, teacher_layers: int, *, key: str) -> tuple[int, ...]:
    """Check a layer map given by the user.

    Args:
        layers: 1-based teacher layers, one for each student layer.
        student_layers: L.
        teacher_layers: N.
        key: Recipe key, for the message.

    Raises:
        RecipeError: It has the wrong length, leaves the teacher, or does not rise.
    """
    if len(layers) != student_layers:
        raise RecipeError(f"`{key}` names {len(layers)} layers, the student has {student_layers}")
    if max(layers) > teacher_layers:
        raise RecipeError(f"`{key}` names layer {max(layers)}, the teacher has {teacher_layers}")
    if any(after <= before for before, after in pairwise(layers)):
        raise RecipeError(f"`{key}` must rise, got {list(layers)}")
    return tuple(layers)

"""What each step from the teacher to the shipped bundle costs: distilling, exporting, quantising."""

from __future__ import annotations

from collections.abc import Sequence

from hrkd_bench.document.schema import Result

PYTORCH, FP32 = "pytorch", "fp32"


def chain_pairs(results: Sequence[Result]) -> list[tuple[int, int]]:
    """Return ``(before, after)`` positions of the results that follow each other.

    The order is teacher in PyTorch, teacher in ONNX, student in PyTorch, student in ONNX, and then every quantised
    student. The step into a student starts at the teacher of the same engine where both are there: the engine is no
    part of distilling. A stage that is missing is left out, and one that stands there twice ends the chain, because
    nothing says which of the two was gone on with.
    """
    stages: list[list[int]] = [[], [], [], [], []]
    for position, result in enumerate(results):
        stages[_stage(result)].append(position)
    *single, quantised = stages
    if any(len(stage) > 1 for stage in single):
        return []
    walk = [stage[0] for stage in single if stage]
    pairs = [(_same_engine(results, walk[:number], after), after) for number, after in enumerate(walk) if number]
    return pairs + [(walk[-1], after) for after in quantised if walk]


def _stage(result: Result) -> int:
    if result.precision != FP32:
        return 4
    is_student, is_exported = result.role == "student", result.engine != PYTORCH
    return 2 * is_student + is_exported


def _same_engine(results: Sequence[Result], before: Sequence[int], after: int) -> int:
    """Return the predecessor: the last stage, or a teacher of the student's own engine for the step into a student."""
    last = before[-1]
    if results[last].role == results[after].role:
        return last
    alike = [position for position in before if results[position].engine == results[after].engine]
    return alike[-1] if alike else last

"""What each step from the teacher to the shipped bundle costs: distilling, exporting, quantising."""

from __future__ import annotations

from collections.abc import Sequence

from hrkd_bench.subjects import Subject

PYTORCH, FP32 = "pytorch", "fp32"


def chain_pairs(subjects: Sequence[Subject]) -> list[tuple[int, int]]:
    """Return ``(before, after)`` positions of the subjects that follow each other.

    The order is teacher in PyTorch, teacher in ONNX, student in PyTorch, student in ONNX, and then every quantised
    student. The step into the first student starts at the teacher of the same engine where both are there: the engine
    is no part of distilling. Exporting and quantising join only what was made from one checkpoint: anything else is
    another model, not a step. A stage that is missing is left out, and one that stands there twice ends the chain,
    because nothing says which of the two was gone on with. A quantised teacher is gone on with by nobody.
    """
    single: list[list[int]] = [[], [], [], []]
    quantised = []
    for position, subject in enumerate(subjects):
        if subject.precision == FP32:
            single[_stage(subject)].append(position)
        elif subject.role == "student":
            quantised.append(position)
    if any(len(stage) > 1 for stage in single):
        return []
    walk = [stage[0] for stage in single if stage]
    steps = [(walk[:number], after) for number, after in enumerate(walk)] + [(walk, after) for after in quantised]
    pairs = [(_before(subjects, earlier, after), after) for earlier, after in steps]
    return [(before, after) for before, after in pairs if before is not None]


def _stage(subject: Subject) -> int:
    is_student, is_exported = subject.role == "student", subject.engine != PYTORCH
    return 2 * is_student + is_exported


def _before(subjects: Sequence[Subject], earlier: Sequence[int], after: int) -> int | None:
    """Return the last stage of the same checkpoint; for the first student a teacher, of its own engine if possible."""
    own = subjects[after]
    relatives = [position for position in earlier if subjects[position].role == own.role]
    if relatives:
        same = (position for position in reversed(relatives) if subjects[position].checkpoint == own.checkpoint)
        return None if own.checkpoint is None else next(same, None)
    alike = [position for position in earlier if subjects[position].engine == own.engine]
    return next(reversed(alike or earlier), None)

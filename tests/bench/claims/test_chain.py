"""The steps from the teacher to what is shipped."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from hrkd_bench.claims.chain import chain_pairs
from hrkd_bench.claims.words import step_name

TEACHER, TEACHER_ONNX = ("teacher", "pytorch", "fp32"), ("teacher", "onnxruntime", "fp32")
STUDENT, STUDENT_ONNX = ("student", "pytorch", "fp32"), ("student", "onnxruntime", "fp32")
INT8, OPENVINO = ("student", "onnxruntime", "int8"), ("student", "openvino", "int8")
TEACHER_INT8 = ("teacher", "onnxruntime", "int8")
OTHER_INT8, UNKNOWN_INT8 = (*INT8, "another"), (*INT8, None)
OTHER_ONNX = (*STUDENT_ONNX, "another")


def subjects(*rows: tuple[str | None, ...]) -> Any:
    """Make subjects of role, engine, precision and checkpoint; a checkpoint that is left out is the role's only one."""
    return [
        SimpleNamespace(role=role, engine=engine, precision=precision, checkpoint=rest[0] if rest else role)
        for role, engine, precision, *rest in rows
    ]


@pytest.mark.parametrize(
    ("rows", "pairs"),
    [
        ([TEACHER, STUDENT, TEACHER_ONNX, STUDENT_ONNX, INT8], [(0, 2), (0, 1), (1, 3), (3, 4)]),
        ([TEACHER, TEACHER_ONNX, INT8], [(0, 1), (1, 2)]),
        ([STUDENT_ONNX, INT8, OPENVINO], [(0, 1), (0, 2)]),
        ([TEACHER, STUDENT_ONNX], [(0, 1)]),
        ([INT8], []),
        ([TEACHER, STUDENT, STUDENT, INT8], []),
        ([TEACHER, STUDENT_ONNX, TEACHER_INT8], [(0, 1)]),
        ([TEACHER, STUDENT_ONNX, OTHER_INT8], [(0, 1)]),
        ([TEACHER, STUDENT_ONNX, UNKNOWN_INT8], [(0, 1)]),
        ([TEACHER, STUDENT, OTHER_ONNX, OTHER_INT8], [(0, 1), (2, 3)]),
        ([TEACHER, TEACHER_ONNX, UNKNOWN_INT8], [(0, 1), (1, 2)]),
    ],
    ids=[
        "whole",
        "no float student",
        "two engines",
        "no other engine",
        "alone",
        "two students",
        "quantised teacher",
        "quantised from another student",
        "quantised from nobody knows what",
        "exported from another student",
        "only the teacher is there",
    ],
)
def test_each_step_follows_the_stage_before_it(rows, pairs) -> None:
    """Prevents the engine's gain from being called distillation's, or a step between two unrelated models."""
    assert sorted(chain_pairs(subjects(*rows))) == sorted(pairs)


@pytest.mark.parametrize(
    ("before", "after", "name"),
    [
        (TEACHER, TEACHER_ONNX, "exported"),
        (TEACHER, STUDENT, "distilled"),
        (TEACHER, STUDENT_ONNX, "distilled and exported"),
        (STUDENT_ONNX, INT8, "quantised to int8"),
        (STUDENT_ONNX, OPENVINO, "quantised to int8"),
        (STUDENT, INT8, "exported and quantised to int8"),
        (TEACHER_ONNX, INT8, "distilled and quantised to int8"),
        (TEACHER, INT8, "distilled, exported and quantised to int8"),
    ],
)
def test_a_step_is_called_all_that_was_done(before, after, name) -> None:
    """Prevents what quantising or another engine brought from being credited to distilling."""
    first, second = subjects(before, after)
    document: Any = SimpleNamespace(result={"before": first, "after": second}.__getitem__)
    step: Any = SimpleNamespace(baseline="before", subject="after")
    assert step_name(document, step) == name

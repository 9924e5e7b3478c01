"""The steps from the teacher to what is shipped."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from hrkd_bench.claims.chain import chain_pairs

TEACHER, TEACHER_ONNX = ("teacher", "pytorch", "fp32"), ("teacher", "onnxruntime", "fp32")
STUDENT, STUDENT_ONNX = ("student", "pytorch", "fp32"), ("student", "onnxruntime", "fp32")
INT8, OPENVINO = ("student", "onnxruntime", "int8"), ("student", "openvino", "int8")


def results(*rows: tuple[str, str, str]) -> Any:
    return [SimpleNamespace(role=role, engine=engine, precision=precision) for role, engine, precision in rows]


@pytest.mark.parametrize(
    ("rows", "pairs"),
    [
        ([TEACHER, STUDENT, TEACHER_ONNX, STUDENT_ONNX, INT8], [(0, 2), (0, 1), (1, 3), (3, 4)]),
        ([TEACHER, TEACHER_ONNX, INT8], [(0, 1), (1, 2)]),
        ([STUDENT_ONNX, INT8, OPENVINO], [(0, 1), (0, 2)]),
        ([TEACHER, STUDENT_ONNX], [(0, 1)]),
        ([INT8], []),
        ([TEACHER, STUDENT, STUDENT, INT8], []),
    ],
    ids=["whole", "no float student", "two engines", "no other engine", "alone", "two students"],
)
def test_each_step_follows_the_stage_before_it(rows, pairs) -> None:
    """Prevents the engine's gain from being called distillation's, or a step between two unrelated students."""
    assert sorted(chain_pairs(results(*rows))) == sorted(pairs)

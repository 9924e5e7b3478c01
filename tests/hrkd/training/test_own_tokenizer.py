"""A student that reads other tokens than its teacher: logits only, each with its own tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hrkd.errors import RecipeError
from hrkd.recipe import Recipe
from hrkd.run_folder import RunFolder
from hrkd.training import Observer, distill, train_teacher
from tiny import make_encoder


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A checkpoint whose vocabulary has the same pieces in another order."""
    folder = make_encoder(tmp_path / "foreign", layers=2, seed=5)
    tokenizer = folder / "tokenizer.json"
    value = json.loads(tokenizer.read_text(encoding="utf-8"))
    pieces = value["model"]["vocab"]
    ordinary = [piece for piece in pieces if not piece.startswith("[")]
    numbers = [pieces[piece] for piece in ordinary]
    pieces |= dict(zip(reversed(ordinary), numbers, strict=True))
    tokenizer.write_text(json.dumps(value), encoding="utf-8")
    return folder


def test_each_reads_its_own_tokens_and_the_student_learns(
    foreign: Path, tmp_path: Path, make_recipe: Callable[..., Recipe]
) -> None:
    """Fed with the student's ids, the teacher answers noise, and the student learns it faithfully."""
    base = make_recipe()
    run = RunFolder.create(tmp_path / "runs", base)
    train_teacher(base, run)
    checkpoint = {"layers": None, "init": "checkpoint", "checkpoint": str(foreign)}
    with pytest.raises(RecipeError, match="own_tokenizer"):
        distill(make_recipe(student=checkpoint), run)
    own = {**checkpoint, "own_tokenizer": True}
    with pytest.raises(RecipeError, match="can only imitate logits"):
        make_recipe(student=own)
    recipe = make_recipe(student=own, method={"preset": "logits"}, training={"epochs": 10})
    record = distill(recipe, run, observer=Observer())
    assert sum(record.details["test"].values()) / 3 > 0.75
    pieces = json.loads((run.student / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    assert pieces == json.loads((foreign / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]

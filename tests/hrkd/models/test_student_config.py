"""The recipe section `student`: presets, and which keys go together."""

from __future__ import annotations

from typing import Any

import pytest

from hrkd.errors import RecipeError
from hrkd.recipe import Recipe, StudentConfig, StudentInit
from hrkd.recipe.presets import STUDENT_PRESETS, StudentShape
from hrkd.recipe_file import parse_recipe
from minimal_recipe import MINIMAL


def parse(**student: Any) -> Recipe:
    return parse_recipe({**MINIMAL, "student": student})


def shape(config: StudentConfig) -> StudentShape:
    return StudentShape(*(getattr(config, name) for name in StudentShape._fields))


@pytest.mark.parametrize("name", STUDENT_PRESETS)
def test_every_preset_is_a_possible_shape(name: str) -> None:
    """A preset whose heads do not divide its width fails for whoever chooses it."""
    found = shape(parse(preset=name).student)
    assert found == STUDENT_PRESETS[name]
    assert found.hidden_size % found.attention_heads == 0
    assert name.endswith(f"{found.layers}x{found.hidden_size}")


def test_written_numbers_win() -> None:
    """A preset that wins over the recipe is measured under the recipe's name."""
    own = parse(preset="3x384", layers=2, attention_heads=None, intermediate_size=512).student
    assert shape(own) == StudentShape(2, 384, 12, 512)


def test_the_resolved_recipe_reads_back_equal() -> None:
    """The run folder's recipe must give the same student, and the same hash."""
    recipe = parse(preset="tinybert-4x312", layers=3, init="pruned_teacher", per_domain=True)
    again = parse_recipe(recipe.model_dump(mode="json"))
    assert again == recipe
    assert again.section_hash("student") == recipe.section_hash("student")


@pytest.mark.parametrize(
    ("student", "problem"),
    [
        ({"preset": "5x999"}, r"`student`: `preset` is '5x999'; known: tinybert-4x312"),
        ({"preset": ["3x384"]}, "valid string"),
        ({"preset": "3x384", "init": "checkpoint", "checkpoint": "x"}, "remove preset"),
        ({"preset": "3x384", "teacher_layers": [1, 2]}, "names 2 layers, `layers` is 3"),
        ({"preset": "3x384", "init": "random", "teacher_layers": [1, 2, 3]}, "`init: pruned_teacher`"),
        ({"layers": 2, "own_tokenizer": True}, "`own_tokenizer` goes with `init: checkpoint`"),
        ({"hidden_size": 64}, "`layers` is missing; give it, or a `preset`"),
        ({"layers": 2, "init": "pruned"}, "pruned_teacher"),
    ],
)
def test_contradictions_are_refused(student: dict[str, Any], problem: str) -> None:
    """One of the values would be silently ignored."""
    with pytest.raises(RecipeError, match=problem):
        parse(**student)


def test_what_goes_together_can_be_written() -> None:
    """A rule too many shuts out what the method needs."""
    assert parse(layers=2, init="pruned_teacher", teacher_layers=[1, 4]).student.teacher_layers == (1, 4)
    assert StudentConfig(init=StudentInit.CHECKPOINT, checkpoint="small", own_tokenizer=True, per_domain=True)

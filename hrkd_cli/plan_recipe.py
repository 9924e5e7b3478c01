"""The chosen shape as a recipe that `hrkd run` takes, with what was expected of it."""

from __future__ import annotations

from hrkd.markdown import one_line
from hrkd.plan_shape import Shape
from hrkd.recipe import PlanConfig, PlannedNumber, Recipe
from hrkd_bench.plan.document import PlanDocument, PlannedShape
from hrkd_export.untrained import StudentSource

LONGEST_NAME = 100


def planned_recipe(source: StudentSource, document: PlanDocument, chosen: PlannedShape) -> Recipe:
    """Return the recipe with the chosen student and export, everything else as it was.

    The name is a new one: the old run folder may hold another student, which is not to be replaced.

    Raises:
        RecipeError: The recipe's objective cannot teach such a student.
    """
    shape = Shape(*chosen.encoder, chosen.vocabulary, chosen.precision)
    numbers = {
        metric: PlannedNumber(
            predicted=value.predicted.value,
            low=value.predicted.low,
            high=value.predicted.high,
            untrained=value.measured,
        )
        for metric, value in chosen.values.items()
        if value.predicted is not None
    }
    plan = PlanConfig(
        budget=document.budget,
        shape=chosen.name,
        processor=document.processor,
        threads=document.threads,
        numbers=numbers,
    )
    name = f"{source.recipe.name[: LONGEST_NAME - len(chosen.name) - 1]}-{chosen.name}"
    changes = {"name": name, "student": source.student(shape), "export": source.export_config(shape), "plan": plan}
    return Recipe.model_validate(source.recipe.model_copy(update=changes).model_dump(mode="json"))


def recipe_text(recipe: Recipe, document: PlanDocument) -> str:
    """Return the recipe as YAML with a head that says where it comes from."""
    lines = [
        f"# Made by `hrkd plan` for the budget {one_line(document.budget)}",
        f"# from {len(document.shapes)} shapes, measured on {one_line(document.processor)}",
    ]
    if document.not_planned:
        lines.append(f"# Only training shows whether these hold: {', '.join(document.not_planned)}")
    return "\n".join([*lines, recipe.to_yaml()])

"""Recipes by file or by shipped name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hrkd.errors import RecipeError

if TYPE_CHECKING:
    from hrkd.recipe import BenchConfig, ExportConfig, Recipe

SUFFIX = ".yaml"


def shipped_recipes() -> list[str]:
    """Return the names of the recipes inside the package, sorted."""
    folder = files("hrkd") / "recipes"
    return sorted(entry.name.removesuffix(SUFFIX) for entry in folder.iterdir() if entry.name.endswith(SUFFIX))


def shipped_text(name: str) -> str:
    """Return the text of a shipped recipe, comments included.

    Raises:
        RecipeError: There is none of that name.
    """
    known = shipped_recipes()
    if name not in known:
        raise RecipeError(f"there is no shipped recipe `{name}`", hint=f"shipped are {', '.join(known)}")
    return (files("hrkd") / "recipes" / f"{name}{SUFFIX}").read_text(encoding="utf-8")


def open_shipped(name: str, overrides: Sequence[str] | None = None) -> Recipe:
    """Load a shipped recipe; see :func:`open_recipe`."""
    from hrkd.recipe_file import load_recipe

    with as_file(files("hrkd") / "recipes" / f"{name}{SUFFIX}") as path:
        return load_recipe(path, overrides or ())


def open_recipe(name_or_path: str, overrides: Sequence[str] | None = None) -> Recipe:
    """Load a recipe from a file, or from the package when no such file exists.

    Args:
        name_or_path: Path of a YAML file, or the name of a shipped recipe; a file wins.
        overrides: ``section.key=value`` strings.

    Raises:
        RecipeError: Neither exists, or the recipe is wrong.
    """
    from hrkd.recipe_file import load_recipe

    path = Path(name_or_path)
    if not path.exists() and name_or_path in shipped_recipes():
        return open_shipped(name_or_path, overrides)
    return load_recipe(path, overrides or ())


def run_of(checkpoint: Path) -> Path:
    """Return the folder that a model folder stands in, also where it is called ``.``; a link stands where it stands."""
    return Path(os.path.abspath(checkpoint)).parent  # noqa: PTH100  (`resolve` would follow the link)


def recipe_beside(checkpoint: Path) -> Recipe | None:
    """Load the recipe of the run that a model folder stands in, or return None outside a run."""
    from hrkd.recipe_file import load_recipe

    path = run_of(checkpoint) / "recipe.yaml"
    return load_recipe(path) if path.is_file() else None


def from_options(**sections: dict[str, Any]) -> Recipe:
    """Check values given as options by the recipe's own rules; the sections they do not touch are placeholders.

    Args:
        sections: Values by section; None means "not given".

    Raises:
        RecipeError: A value is wrong; says which, and what is allowed.
    """
    from hrkd.recipe_file import parse_recipe

    value: dict[str, Any] = {
        "name": "options",
        "data": {"source": "vader"},
        "teacher": {"base": "unused"},
        "student": {"layers": 1},
    }
    for section, options in sections.items():
        value[section] = {key: option for key, option in options.items() if option is not None}
    return parse_recipe(value, origin="command line")


def export_config(recipe: Recipe | None, *, quantize: str | None, **options: Any) -> ExportConfig:
    """Return how to export: the run's own settings, with what the options say over them.

    Unlike the others, ``quantize`` is always the option's: without it the graph stays in floating point.

    Args:
        recipe: Of the run; None outside one.
        quantize: Way of quantising.
        options: Other keys of the recipe's section; None means "not given".
    """
    values = recipe.export.model_dump(mode="json", exclude={"quantize"}) if recipe else {}
    values |= {key: value for key, value in options.items() if value is not None}
    config = from_options(export={**values, "quantize": quantize}).export
    return config if quantize else config.model_copy(update={"quantize": None})


def bench_config(**options: Any) -> BenchConfig:
    """Return how to measure, with the options over the defaults; None means "not given"."""
    return from_options(bench=options).bench

"""The shortest recipe, and changes of it."""

from __future__ import annotations

import copy
from typing import Any

from hrkd.recipe import Recipe
from hrkd.recipe_file import parse_recipe

MINIMAL: dict[str, Any] = {
    "name": "test",
    "data": {"source": "files", "path": "reviews.csv"},
    "teacher": {"base": "bert"},
    "student": {"layers": 2},
}


def recipe_with(**sections: Any) -> Recipe:
    """Return the minimal recipe with changes: mappings are merged, everything else replaces."""
    value = copy.deepcopy(MINIMAL)
    for name, change in sections.items():
        merged = isinstance(change, dict) and isinstance(value.get(name, {}), dict)
        value[name] = {**value.get(name, {}), **change} if merged else change
    return parse_recipe(value)

"""Recipes: damaged shipped ones, arbitrary text, and overrides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fuzz.budget_of_cases import share
from fuzz.guard import Arena, refused_or
from fuzz.mutations import damaged, damaged_bytes, texts, values
from hrkd.recipe_file import load_recipe, parse_recipe, read_yaml
from hrkd_cli.recipes import shipped_recipes, shipped_text

pytestmark = pytest.mark.filterwarnings("ignore")
SHIPPED = [shipped_text(name) for name in shipped_recipes()]
RESOLVED = [parse_recipe(read_yaml(text)).model_dump(mode="json") for text in SHIPPED]
KEYS = sorted(
    {f"{section}.{key}" for recipe in RESOLVED for section, inner in recipe.items() if inner for key in inner}
)


def write_yaml(value: Any) -> bytes:
    """Return a value as YAML bytes; what YAML cannot say as its repr."""
    try:
        return yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogatepass")
    except yaml.YAMLError:
        return repr(value).encode("utf-8", "surrogatepass")


overrides = st.lists(
    st.one_of(texts, st.builds(lambda key, value: f"{key}={value}", st.sampled_from(KEYS), st.one_of(texts, values))),
    max_size=2,
)


@share(0.2)
@given(
    content=st.one_of(
        st.sampled_from(RESOLVED).flatmap(damaged).map(write_yaml),
        st.sampled_from(SHIPPED).flatmap(lambda text: damaged_bytes(text.encode())),
        st.binary(max_size=200),
    ),
    overrides=overrides,
)
def test_a_recipe_is_read_or_refused(arena: Arena, content: bytes, overrides: list[str]) -> None:
    """Prevents a typing error in a recipe from ending in a traceback, and a recipe that is not what its file says."""
    with arena.case(lambda box: (box / "recipe.yaml").write_bytes(content)):
        recipe = refused_or(lambda: load_recipe(Path("recipe.yaml"), overrides))
        if recipe is not None:
            assert parse_recipe(read_yaml(recipe.to_yaml())) == recipe
            assert Path("runs", recipe.name).resolve().parent == Path("runs").resolve()

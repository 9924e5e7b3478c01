"""A tiny recipe and its run folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hrkd.recipe import Recipe
from hrkd.recipe_file import parse_recipe


@pytest.fixture(scope="session")
def make_recipe(tiny_encoder: Path, tiny_data: Path) -> Callable[..., Recipe]:
    """Return a builder of tiny recipes; keyword arguments replace whole sections' keys."""

    def build(**sections: dict[str, Any]) -> Recipe:
        training = {"epochs": 6, "learning_rate": 3e-3, "batch_size": 4, "checkpoint_steps": 3, "precision": "fp32"}
        value: dict[str, Any] = {
            "name": "tiny",
            "seed": 7,
            "data": {"source": "files", "path": str(tiny_data), "max_length": 24},
            "teacher": {"base": str(tiny_encoder), "training": training},
            "student": {"layers": 2},
            "method": {},
            "training": training,
        }
        for name, keys in sections.items():
            value[name] = {**value.get(name, {}), **keys}
        return parse_recipe(value)

    return build

"""What a device is asked to measure: the plan that travels with the bundles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

PLAN = "plan.json"
BUNDLES = "bundles"
"""Folder of the packed bundles, one numbered folder for each, baselines first."""
PLAN_SCHEMA: Literal[1] = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What to measure, and how.

    Attributes:
        hrkd: Version that packed it.
        settings: Fields of `hrkd.recipe.BenchConfig`, checked where the plan was made.
        names: Of the bundles, in their order; unique.
        num_baselines: How many of them are baselines; they come first.
        memory_limit: Whether the smallest memory limit of each bundle is searched for.
        files: SHA-256 of every file that was packed, by its path.
    """

    schema_version: Literal[1] = PLAN_SCHEMA
    hrkd: str
    settings: dict[str, Any]
    names: tuple[str, ...]
    num_baselines: int
    memory_limit: bool
    files: dict[str, str]

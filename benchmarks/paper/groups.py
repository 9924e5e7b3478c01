"""The committed runs in the order of the tables, and the checks without which a row or a comparison means nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hrkd.errors import ArtifactError
from paper.bits import unpack
from paper.documents import DATASET, DatasetFacts, Result, read_facts, read_results
from paper.plan import TEACHER, Plan
from paper.provenance import changes
from paper.statistics import Correct


@dataclass(frozen=True, slots=True)
class Group:
    """All runs of one data set and training fraction.

    Attributes:
        facts: Of the data set.
        fraction: Training texts in percent.
        runs: By method (the teacher first, then in the plan's order) and seed.
        wanted_seeds: How many seeds of each method the plan asks for; empty outside the plan.
        later_seeds: Those that were decided on when the others had been seen.
    """

    facts: DatasetFacts
    fraction: float
    runs: dict[str, dict[int, Result]]
    wanted_seeds: dict[str, int]
    later_seeds: tuple[int, ...] = ()

    def correct(self, method: str, seeds: list[int]) -> Correct:
        """Return whether the runs of ``seeds`` answer each test text right, (S, n)."""
        own = self.runs[method]
        return np.stack([unpack(own[seed].scores.correct, self.facts.test_size) for seed in seeds])

    def seeds(self, *methods: str) -> list[int]:
        """Return the seeds that all ``methods`` have."""
        return sorted(set.intersection(*(set(self.runs.get(method, {})) for method in methods)))

    def later(self) -> Group:
        """Return the runs of the later seeds alone: what was seen before they were decided on has no part in them."""
        runs = {
            method: {seed: run for seed, run in by_seed.items() if seed in self.later_seeds}
            for method, by_seed in self.runs.items()
        }
        return replace(self, runs={method: by_seed for method, by_seed in runs.items() if by_seed}, wanted_seeds={})

    def different_teachers(self) -> list[int]:
        """Return the seeds whose methods did not all imitate the same teacher."""
        return [
            seed
            for seed in sorted({seed for runs in self.runs.values() for seed in runs})
            if len({runs[seed].teacher_hash for runs in self.runs.values() if seed in runs}) > 1
        ]


@dataclass(frozen=True, slots=True)
class TextChoice:
    """Which test texts a table is about.

    Attributes:
        keep: Shape (n,).
        domains: Domain ids of the kept ones, (m,).
    """

    keep: NDArray[np.bool_]
    domains: NDArray[np.int64]

    @classmethod
    def of(cls, facts: DatasetFacts, *, with_leaks: bool) -> TextChoice:
        """Choose all test texts, or those that do not also stand in train."""
        keep = np.full(facts.test_size, True) if with_leaks else ~facts.leaks()
        return cls(keep, facts.domains()[keep])


def read_groups(results: Path, plan: Plan) -> list[Group]:
    """Read all runs.

    Raises:
        ArtifactError: A file is damaged, a data set's facts are missing, or the runs of one row had different recipes.
    """
    groups = []
    order = list(plan.datasets)
    folders = sorted(path for path in results.glob("*") if path.is_dir())
    for folder in sorted(folders, key=lambda path: order.index(path.name) if path.name in order else len(order)):
        facts = read_facts(folder / DATASET)
        found = list(read_results(results, facts))
        fractions = sorted({result.fraction for result in found}, reverse=True)
        groups += [_group(facts, one, [run for run in found if run.fraction == one], plan) for one in fractions]
    return groups


def _group(facts: DatasetFacts, fraction: float, results: list[Result], plan: Plan) -> Group:
    methods = [TEACHER, *plan.methods]
    methods += sorted({result.method for result in results}.difference(methods))
    runs = {name: {one.seed: one for one in results if one.method == name} for name in methods}
    runs = {name: by_seed for name, by_seed in runs.items() if by_seed}
    for by_seed in runs.values():
        _refuse_mixed_row(list(by_seed.values()), plan)
    blocks = [block for block in plan.grid if (block.dataset, block.fraction) == (facts.dataset, fraction)]
    wanted = {name: len(plan.seeds_of(block, name)) for block in blocks for name in runs}
    later = tuple(seed for block in blocks if block.more_seeds for seed in block.more_seeds.seeds)
    return Group(facts, fraction, runs, wanted, later)


def _refuse_mixed_row(row: list[Result], plan: Plan) -> None:
    """Refuse a row whose runs differ in more than their seed."""
    first = row[0]
    for other in row[1:]:
        differing = [
            text for text in changes(first.recipe, other.recipe, {}) if text.split(" ")[0] not in plan.seed_keys
        ]
        if differing:
            raise ArtifactError(
                f"{first.dataset} {first.fraction:g} % {first.method}: seed {first.seed} and seed {other.seed} had "
                f"different recipes: {differing[0]}",
                hint="delete the older of the two and run it again",
            )


def all_results(groups: list[Group]) -> Iterator[Result]:
    """Yield every run."""
    for group in groups:
        for runs in group.runs.values():
            yield from runs.values()

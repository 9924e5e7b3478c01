"""The grid as data: what `plan.yaml` says, checked, and the runs that follow from it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from hrkd.errors import RecipeError
from hrkd.recipe import Recipe, Section
from hrkd_cli.recipes import open_recipe

PLAN = Path(__file__).with_name("plan.yaml")
TEACHER = "teacher"
"""Takes the place of a method's name where the teacher's own scores are kept."""

FolderName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")]
Overrides = dict[str, Any]
Percent = Annotated[float, Field(gt=0.0, le=100.0)]
Seeds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]


class MethodPlan(Section):
    """One row of the tables."""

    what: str
    overrides: Overrides = Field(default_factory=dict)
    most_seeds: Annotated[int, Field(gt=0)] | None = None
    """Take only the first seeds of a block: an exploration, not a claim."""


class DatasetPlan(Section):
    """One data set: a recipe, by file or shipped name, and what is changed in it for every run."""

    recipe: str
    what: str
    overrides: Overrides = Field(default_factory=dict)


class MoreSeeds(Section):
    """Seeds that only some methods of a block get, after those of all."""

    seeds: Seeds
    methods: tuple[str, ...]


class Block(Section):
    """The runs of one data set and training fraction."""

    dataset: str
    fraction: Percent
    seeds: Seeds
    methods: Literal["all"] | tuple[str, ...]
    more_seeds: MoreSeeds | None = None
    overrides: Overrides = Field(default_factory=dict)

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The seeds of any method, and so of the teacher."""
        return self.seeds + (self.more_seeds.seeds if self.more_seeds else ())


class SummaryPlan(Section):
    """What README shows."""

    baselines: tuple[str, ...]
    methods: tuple[str, ...]


class Plan(Section):
    """The whole grid; see `plan.yaml`."""

    fraction_key: str
    seed_keys: tuple[str, ...]
    datasets: dict[FolderName, DatasetPlan]
    methods: dict[FolderName, MethodPlan]
    grid: tuple[Block, ...]
    baselines: tuple[str, ...]
    summary: SummaryPlan

    @model_validator(mode="after")
    def _known_names(self) -> Self:
        if TEACHER in self.methods:
            raise ValueError(f"no method can be called `{TEACHER}`")
        named = {*self.baselines, *self.summary.baselines, *self.summary.methods}
        named |= {method for block in self.grid if block.methods != "all" for method in block.methods}
        named |= {method for block in self.grid if block.more_seeds for method in block.more_seeds.methods}
        unknown = sorted(named - set(self.methods)) + sorted(
            {block.dataset for block in self.grid} - set(self.datasets)
        )
        if unknown:
            raise ValueError(f"unknown method or data set: {', '.join(unknown)}")
        cells = [(block.dataset, block.fraction) for block in self.grid]
        if len(set(cells)) != len(cells):
            raise ValueError("`grid` has a data set and fraction twice")
        return self

    def seeds_of(self, block: Block, method: str) -> tuple[int, ...]:
        """Return the seeds of a method (or of the teacher) in a block."""
        if method == TEACHER:
            return block.all_seeds
        first = block.seeds[: self.methods[method].most_seeds] if method in self.methods else block.seeds
        more = block.more_seeds
        return first + (more.seeds if more is not None and method in more.methods else ())

    def methods_of(self, block: Block) -> tuple[str, ...]:
        """Return the methods of a block, in the order of the tables."""
        return tuple(name for name in self.methods if block.methods == "all" or name in block.methods)


@dataclass(frozen=True, slots=True)
class Job:
    """One run: a student of one method, or (``method`` is :data:`TEACHER`) the teacher that its students share.

    Attributes:
        dataset: Name in the plan.
        fraction: Training texts in percent.
        method: Name in the plan.
        seed: Of data sample, teacher and student.
        overrides: All that was changed in the data set's recipe, by dotted key.
        recipe: The recipe with these changes.
    """

    dataset: str
    fraction: float
    method: str
    seed: int
    overrides: Mapping[str, Any]
    recipe: Recipe

    @property
    def cell(self) -> Path:
        """Data set and fraction, as a relative folder."""
        return Path(self.dataset) / f"{self.fraction:g}"

    def __str__(self) -> str:
        return f"{self.dataset} {self.fraction:g} % {self.method} seed {self.seed}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which part of the grid is asked for; an empty tuple asks for everything."""

    datasets: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    fractions: tuple[float, ...] = ()

    def check(self, plan: Plan) -> None:
        """Refuse what the plan does not have.

        Raises:
            RecipeError: Names it, and what there is.
        """
        choices: list[tuple[str, Sequence[Any], set[Any]]] = [
            ("data set", self.datasets, {block.dataset for block in plan.grid}),
            ("method", self.methods, {name for block in plan.grid for name in plan.methods_of(block)}),
            ("seed", self.seeds, {seed for block in plan.grid for seed in block.all_seeds}),
            ("fraction", self.fractions, {block.fraction for block in plan.grid}),
        ]
        for kind, asked, known in choices:
            for value in asked:
                if value not in known:
                    have = ", ".join(f"{name:g}" if isinstance(name, float) else str(name) for name in sorted(known))
                    raise RecipeError(f"the plan has no {kind} `{value}`", hint=f"it has {have}")

    def takes(self, dataset: str, fraction: float, method: str, seed: int) -> bool:
        """Whether a run is asked for."""
        asked = (self.datasets, self.fractions, self.methods, self.seeds)
        return all(not some or value in some for some, value in zip(asked, (dataset, fraction, method, seed)))


def read_plan(path: Path = PLAN) -> Plan:
    """Read and check a plan.

    Raises:
        RecipeError: The file is missing or something in it is wrong.
    """
    try:
        return Plan.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise RecipeError(f"plan `{path}` cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"plan `{path}` is not valid YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "plan"
        raise RecipeError(f"plan `{path}`, `{place}`: {first['msg']}") from error


def jobs(plan: Plan, wanted: Wanted, extra: Sequence[str] = ()) -> Iterator[Job]:
    """Yield the wanted students' runs in the order in which they are made.

    Args:
        plan: The grid.
        wanted: Which part of it.
        extra: Further ``[DATASET:]KEY=VALUE`` overrides, applied last; with a data set's name only to that.

    Raises:
        RecipeError: Something unknown is wanted, or a method's keys do not fit the recipe.
    """
    wanted.check(plan)
    for block in plan.grid:
        for seed in block.all_seeds:
            for method in plan.methods_of(block):
                if seed in plan.seeds_of(block, method) and wanted.takes(block.dataset, block.fraction, method, seed):
                    yield job(plan, block, method, seed, extra)


def job(plan: Plan, block: Block, method: str, seed: int, extra: Sequence[str] = ()) -> Job:
    """Return one run; without the method's overrides for :data:`TEACHER`."""
    dataset = plan.datasets[block.dataset]
    overrides = {**dataset.overrides, **block.overrides, plan.fraction_key: block.fraction / 100}
    overrides |= dict.fromkeys(plan.seed_keys, seed)
    overrides |= {} if method == TEACHER else plan.methods[method].overrides
    overrides |= dict(_parsed(text) for text in _for_dataset(extra, plan, block.dataset))
    texts = [f"{key}={json.dumps(value)}" for key, value in overrides.items()]
    return Job(block.dataset, block.fraction, method, seed, overrides, open_recipe(dataset.recipe, texts))


def whole_recipe(plan: Plan, dataset: str, extra: Sequence[str] = ()) -> Recipe:
    """Return a data set's recipe with all of its training texts."""
    overrides = plan.datasets[dataset].overrides | dict(_parsed(text) for text in _for_dataset(extra, plan, dataset))
    return open_recipe(
        plan.datasets[dataset].recipe, [f"{key}={json.dumps(value)}" for key, value in overrides.items()]
    )


def _for_dataset(extra: Sequence[str], plan: Plan, dataset: str) -> Iterator[str]:
    """Yield the overrides that go to a data set, its name taken off."""
    for text in extra:
        name, colon, rest = text.partition("=")[0].partition(":")
        if not colon:
            yield text
        elif name not in plan.datasets:
            raise RecipeError(
                f"override `{text}` names the data set `{name}`", hint=f"it is {', '.join(plan.datasets)}"
            )
        elif name == dataset and rest:
            yield text.removeprefix(f"{name}:")


def _parsed(text: str) -> tuple[str, Any]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise RecipeError(f"override `{text}` is not of the form `section.key=value`")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise RecipeError(f"override `{text}`: the value is not valid YAML") from error

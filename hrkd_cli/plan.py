"""`hrkd plan`: measure some untrained students, predict the others, measure those that fit, write the largest down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hrkd.errors import BudgetError, BudgetMissed
from hrkd.model_folder import CLASSIFIER
from hrkd.output_file import new_file
from hrkd.plan_shape import Shape
from hrkd.recipe import Recipe
from hrkd.recipe_file import parse_recipe
from hrkd.run_folder import RunFolder
from hrkd_bench.document.schema import BenchDocument, Result
from hrkd_bench.gate.budget import Budget
from hrkd_bench.plan.document import (
    PlanDocument,
    PlannedShape,
    closest_miss,
    planned_limits,
    proposals,
    unplanned_metrics,
    within,
)
from hrkd_bench.plan.grid import choose_measured
from hrkd_bench.plan.predict import Candidate, predict
from hrkd_cli.measurement_files import refuse_existing
from hrkd_cli.output import Output
from hrkd_cli.places import Place, here
from hrkd_cli.plan_build import (
    Workshop,
    bench_settings,
    candidates_of,
    grid_of,
    measured_positions,
)
from hrkd_cli.plan_recipe import planned_recipe, recipe_text
from hrkd_cli.plan_table import miss_words, plan_lines, plan_table
from hrkd_cli.recipes import open_recipe, recipe_beside
from hrkd_export.target import AUTO, resolve_target
from hrkd_export.untrained import StudentSource

PROPOSED = 3
"""Encoders that are measured because they seem to fit."""
_MOST_ROUNDS = 4  # of measuring proposals: each one replaces predictions that did not hold by measurements
_DRIFT = 0.05


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """What to plan.

    Attributes:
        budget: The limits.
        grid: Axes that the user wrote.
        measured: Encoders of each arithmetic to measure before the others are predicted.
        work: Folder in which built students stay.
        recipe_file: Receives the chosen shape as a recipe; None: nothing is written.
    """

    budget: Budget
    grid: tuple[str, ...]
    measured: int
    work: Path
    recipe_file: Path | None


def open_source(
    name: str, overrides: Sequence[str] | None, *, target: str | None = None, threads: int | None = None
) -> tuple[Recipe, Path | None]:
    """Return the recipe to plan for, and the teacher's folder where one was given instead of a recipe.

    Args:
        name: File or name of a recipe, or folder of a run's teacher.
        overrides: ``section.key=value`` strings.
        target: Replaces the recipe's ``export.target``.
        threads: Replaces the recipe's ``bench.threads``.

    Raises:
        RecipeError: There is no such recipe, or it is wrong.
        BudgetError: The folder is no teacher of a run, or overrides go with a folder.
    """
    folder = Path(name)
    if not (folder / CLASSIFIER).is_file():
        return _with_options(open_recipe(name, overrides), target, threads), None
    recipe = recipe_beside(folder)
    if recipe is None:
        raise BudgetError(
            f"no recipe stands beside the teacher `{folder}`, which would lead to its texts",
            hint="give the recipe, or the teacher inside its run folder",
        )
    if overrides:
        raise BudgetError("`--set` changes a recipe, not a teacher's folder", hint="give the recipe instead")
    return _with_options(recipe, target, threads), folder


def _with_options(recipe: Recipe, target: str | None, threads: int | None) -> Recipe:
    """Return the recipe with what the command line says, checked by the recipe's own rules."""
    value = recipe.model_dump(mode="json")
    value["export"] |= {} if target is None else {"target": target}
    value["bench"] |= {} if threads is None else {"threads": threads}
    return parse_recipe(value, origin="command line")


def refuse_own_target(recipe: Recipe, host: str | None) -> None:
    """Refuse to quantise for this machine's processor what a device will run.

    Raises:
        BudgetError: The recipe leaves the target to the machine that exports.
    """
    if host is not None and recipe.export.target == AUTO:
        raise BudgetError(
            f"the target `{AUTO}` is this machine's processor, and `{host}` may have another one",
            hint="name it: --target arm64, avx2, ... (docs/targets.md); `hrkd doctor` on the device says what it has",
        )


def make_plan(recipe: Recipe, teacher: Path | None, request: PlanRequest, output: Output, place: Place = here) -> None:
    """Plan, print the table, and write the chosen shape as a recipe.

    Args:
        recipe: Whose student is planned.
        teacher: Its trained teacher; None: what the recipe names.
        request: Budget and grid.
        output: Receives progress and the result.
        place: Where bundles are measured: on this machine, or on the device that the student is for.

    Raises:
        BudgetError: Budget or grid cannot be used.
        BudgetMissed: No shape of the grid is within the budget; the table is printed all the same.
        ArtifactError: The recipe file exists already; said before any work.
    """
    limits = planned_limits(request.budget)
    if not limits:
        raise BudgetError(
            f"nothing in the budget `{request.budget.text}` can be planned: accuracy is only known after training",
            hint="add a limit such as p95=5ms or size=10MB",
        )
    refuse_existing(request.recipe_file, overwrite=False)
    source, config = StudentSource.of(recipe, teacher), bench_settings(recipe.bench)
    shapes = grid_of(source, request.grid, output)
    positions = measured_positions(source, config.max_texts or len(source.examples))
    candidates = candidates_of(source, shapes, positions)
    with RunFolder(request.work).locked():
        workshop = Workshop(source, positions, config, request.work, output, place)
        document = _Planning(workshop, candidates, request).plan()
    _finish(document, source, request, output)


class _Planning:
    """The measurements of one plan."""

    def __init__(self, workshop: Workshop, candidates: list[Candidate], request: PlanRequest) -> None:
        self.workshop = workshop
        self.candidates = candidates
        self.shapes = {candidate.shape.name: candidate.shape for candidate in candidates}
        self.request = request
        self.limits = planned_limits(request.budget)
        self.results: dict[str, Result] = {}
        self.notes: list[str] = []

    def plan(self) -> PlanDocument:
        """Measure what spans the grid, then what seems to fit, until the largest that fits were all measured."""
        typical = sorted(self.candidates[0].tokens)[len(self.candidates[0].tokens) // 2]
        base = choose_measured(list(self.shapes.values()), self.request.measured, typical)
        names = [shape.name for shape in base]
        document = self._measure(base)
        planned, fits = predict(self.candidates, self.results, names)
        for _ in range(_MOST_ROUNDS):
            wanted = [shape for shape in proposals(planned, self.limits, PROPOSED) if not shape.is_measured]
            if not wanted:
                break
            self._measure_beside([self.shapes[shape.name] for shape in wanted], base[len(base) // 2])
            planned, fits = predict(self.candidates, self.results, names)
        chosen = next((shape.name for shape in within(planned, self.limits) if shape.is_measured), None)
        own, export = self.workshop.source.own_shape(), self.workshop.source.recipe.export
        quantised = any(shape.precision != "fp32" for shape in self.shapes.values())
        return PlanDocument(
            budget=self.request.budget.text,
            not_planned=unplanned_metrics(self.request.budget),
            target=resolve_target(export.target, export.targets).name if quantised else None,
            processor=document.environment.cpu,
            threads=document.results[0].threads,
            texts=document.texts.count,
            shapes=planned,
            fits=fits,
            chosen=chosen,
            own=None if own is None else own.name,
            notes=list(dict.fromkeys(self.notes)),
        )

    def _measure(self, shapes: Sequence[Shape]) -> BenchDocument:
        document = self.workshop.run(shapes)
        self.results |= {shape.name: result for shape, result in zip(shapes, document.results, strict=True)}
        self.notes += [f"INVALID: {reason}" for result in document.results for reason in result.invalid_reasons]
        return document

    def _measure_beside(self, shapes: Sequence[Shape], anchor: Shape) -> None:
        """Measure shapes beside one that was measured before, which shows whether the machine is still the same.

        Where it is not, everything is measured again in one run: laws of one speed say nothing about another one.
        """
        before = self.results[anchor.name]
        self._measure([anchor, *shapes])
        drift = _median(self.results[anchor.name]) / _median(before) - 1
        self.results[anchor.name] = before  # the laws were fitted to it
        if abs(drift) > _DRIFT:
            self.notes.append(
                f"{anchor.name} took {100 * drift:+.1f} % in a later run: the machine's speed changed, so all that had "
                "been measured was measured again, in turns"
            )
            self._measure([self.shapes[name] for name in self.results])


def _median(result: Result) -> float:
    return result.latency_ms.end_to_end.p50


def _finish(document: PlanDocument, source: StudentSource, request: PlanRequest, output: Output) -> None:
    """Write the recipe, print the result, and refuse an impossible budget."""
    limits = planned_limits(request.budget)
    lines = plan_lines(document)
    chosen = None if document.chosen is None else document.shape(document.chosen)
    if chosen is not None and request.recipe_file is not None:
        recipe = planned_recipe(source, document, chosen)
        with new_file(request.recipe_file) as stream:
            stream.write(recipe_text(recipe, document).encode("utf-8"))
        lines.append(f"recipe: {request.recipe_file}")
    output.result(document.model_dump(mode="json"), plan_table(document, limits), *lines)
    if chosen is None:
        raise BudgetMissed(_impossible(document.shapes, request))


def _impossible(shapes: Sequence[PlannedShape], request: PlanRequest) -> str:
    limits = planned_limits(request.budget)
    shape, metric, share = closest_miss(shapes, limits)
    limit = next(limit for limit in limits if limit.metric.name == metric)
    return (
        f"no shape of the grid is within the budget `{request.budget.text}`: the closest one, {shape.name}, "
        f"{miss_words(limit, shape.values[metric].best, share)}"
    )

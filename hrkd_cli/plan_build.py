"""The untrained students of a plan: built once, kept in a work folder, and measured in turns."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hrkd.bundle import open_bundle
from hrkd.errors import ArtifactError, ExportError, RecipeError
from hrkd.plan_shape import Shape
from hrkd.recipe import BenchConfig
from hrkd_bench.document.schema import BenchDocument, read_document
from hrkd_bench.examples import EvaluationTexts, choose
from hrkd_bench.plan.grid import default_grid, parse_grid
from hrkd_bench.plan.predict import Candidate
from hrkd_cli.bench_progress import bench_progress
from hrkd_cli.output import Output
from hrkd_cli.places import Place
from hrkd_export.plan_inputs import precision_of, shape_of
from hrkd_export.untrained import StudentSource

TEXTS = 700
"""Texts to measure on where the recipe names no number: enough for a p99, and for the share of every domain."""
MOST_ROUNDS = 4
"""Fresh processes of each student: no verdict is asked for, and a plan measures many."""
_KEY_LENGTH = 16
_SEED = 0


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where untrained students are made and measured.

    Attributes:
        source: What they have in common.
        positions: Which evaluation texts are measured.
        config: How.
        work: Folder of the finished bundles.
        output: Receives progress.
        place: Where they are measured.
    """

    source: StudentSource
    positions: tuple[int, ...]
    config: BenchConfig
    work: Path
    output: Output
    place: Place

    def build(self, shapes: Sequence[Shape]) -> list[Path]:
        """Return a bundle for each shape, made now or by an earlier call with the same inputs."""
        bundles = []
        with bench_progress(self.output) as progress:
            for number, shape in enumerate(shapes):
                if progress is not None:
                    progress(f"building {len(shapes)} untrained students", number, len(shapes))
                bundles.append(self._bundle(shape))
        return bundles

    def run(self, shapes: Sequence[Shape]) -> BenchDocument:
        """Build shapes and measure them in one run; results are in the shapes' order."""
        bundles = self.build(shapes)
        with bench_progress(self.output) as progress:
            return read_document(self.place(bundles, [], self.config, progress))

    def _bundle(self, shape: Shape) -> Path:
        bundle = self.work / self.source.key(shape, self.positions)[:_KEY_LENGTH]
        try:
            open_bundle(bundle)
        except ArtifactError:
            shutil.rmtree(bundle, ignore_errors=True)  # absent, or damaged since
            self.source.build(shape, self.positions, bundle, _silent)
        return bundle


def bench_settings(config: BenchConfig) -> BenchConfig:
    """Return how untrained students are measured: as the recipe's bench, without what says nothing about them."""
    changes: dict[str, Any] = {"max_texts": config.max_texts or TEXTS, "rounds": min(config.rounds, MOST_ROUNDS)}
    changes |= {"lengths": (), "rate": None, "minutes": None}
    return config.model_copy(update=changes)


def measured_positions(source: StudentSource, most: int) -> tuple[int, ...]:
    """Return which evaluation texts are measured: those that a bench of so many texts would take."""
    examples, names = source.examples, source.names
    labels = np.array([names.label_names.index(example.label) for example in examples])
    domains = np.array([names.domain_names.index(example.domain) for example in examples])
    texts = EvaluationTexts(Path("eval.jsonl"), examples, labels, domains, np.zeros_like(labels))
    return tuple(choose(texts, most, _SEED).tolist())


def grid_of(source: StudentSource, entries: Sequence[str], output: Output) -> list[Shape]:
    """Return the shapes to plan: the grid, and the recipe's own one.

    Args:
        source: Knows teacher and recipe.
        entries: Axes that the user wrote.
        output: Is told which shapes of the default grid the recipe cannot distil.

    Raises:
        BudgetError: An axis cannot be read.
        RecipeError: A shape that the user wrote cannot be distilled as the recipe says.
    """
    teacher = shape_of(source.teacher, precision_of(source.recipe.export))
    grid = parse_grid(entries, default_grid(teacher, len(source.tokenizer), can_cut=source.can_cut()), teacher)
    written = any(entry.partition("=")[0].strip() in ("layers", "width") for entry in entries)
    # A student as large as its teacher is none, unless somebody asks for it.
    shapes = [shape for shape in grid.shapes() if written or shape.encoder != teacher.encoder]
    own = source.own_shape()
    if own is not None and own not in shapes:
        shapes.append(own)
    refused = _refused_encoders(source, shapes)
    left = [shape for shape in shapes if shape.encoder not in refused]
    if refused and (written or not left):
        raise next(iter(refused.values()))
    for (layers, width, *_), problem in refused.items():
        output.note(f"plan: {layers}x{width} is left out: {problem.message}")
    return left


def _refused_encoders(source: StudentSource, shapes: Sequence[Shape]) -> dict[tuple[int, int, int, int], RecipeError]:
    """Return the encoders that the recipe's objective cannot teach, and why."""
    refused = {}
    for encoder, shape in {shape.encoder: shape for shape in shapes}.items():
        try:
            source.student(shape)
        except RecipeError as error:
            refused[encoder] = error
    return refused


def candidates_of(source: StudentSource, shapes: Sequence[Shape], positions: Sequence[int]) -> list[Candidate]:
    """Count weights, pieces and tokens of every shape.

    Raises:
        ExportError: A vocabulary cannot be cut as far as the grid says.
    """
    sizes = dict.fromkeys(shape.vocabulary for shape in shapes)
    pieces = len(source.tokenizer)
    too_many = next((most for most in sizes if most is not None and most > pieces), None)
    if too_many is not None:
        raise ExportError(
            f"the grid asks for {too_many} pieces, the teacher's tokenizer has {pieces}",
            hint="write `full` for all of them",
        )
    facts = {most: source.vocabulary(most, positions) for most in sizes}
    candidates = []
    for shape in shapes:
        vocabulary = facts[shape.vocabulary]
        candidates.append(
            Candidate(
                shape,
                source.parameters(shape, vocabulary.rows),
                vocabulary.pieces,
                vocabulary.rows,
                vocabulary.tokenizer_bytes,
                vocabulary.tokens,
            )
        )
    return candidates


def _silent(_text: str) -> None:
    """Receive messages nobody asked for: a plan makes many bundles, and its progress says how many."""

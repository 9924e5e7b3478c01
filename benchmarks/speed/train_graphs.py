"""What a graph costs: real training steps without a graph, with the released one and with `meta`, in turns.

    PYTHONPATH=benchmarks python -m speed.train_graphs runs/demo

The run's teacher and data, its student and its objective; only `method.graph.variant` differs. A round has as many
steps as lie between two outer updates, so `meta` does exactly one. The teacher answers every batch, or its answers are
cached (`training.cache_teacher`), which makes the rest of a step, and so the share of an outer update, larger.
"""

from __future__ import annotations

# ruff: noqa: TID253  (training is what is measured here)
import argparse
import copy
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from hrkd.artifact import write_json
from hrkd.data.dataset import DomainDataset
from hrkd.data.load import load_dataset
from hrkd.models.student import build_student
from hrkd.recipe import GraphVariant, Recipe
from hrkd.recipe_file import load_recipe
from hrkd.run_folder import RunFolder
from hrkd.training.connect import connect_teacher
from hrkd.training.distill import prepare_distillation, verified_teacher
from hrkd.training.inputs import DistillationInputs, Readers
from hrkd.training.observer import Observer
from hrkd.training.optimization import build_optimizer
from hrkd.training.state import Progress
from hrkd.training.update import Updates
from hrkd_bench.machine.environment import describe_environment
from speed.tables import RESULTS, write_tables
from speed.train_steps import Indices, seconds_of

SCHEMA_VERSION = 1


class Training:
    """The real training of one variant; a step is `hrkd distill`'s, outer update included.

    Args:
        inputs: Its recipe names the variant.
    """

    def __init__(self, inputs: DistillationInputs) -> None:
        self.name = inputs.recipe.method.graph.variant.value
        torch.manual_seed(inputs.recipe.seed)
        student = build_student(inputs.teacher, inputs.recipe.student)
        objective, self.stage, data = prepare_distillation(inputs, student, "measured, not kept")
        connect_teacher(objective, inputs, data, self.stage.device)
        optimizer = build_optimizer(objective.trainable, self.stage.config, self.stage.outer)
        self.updates = Updates(objective, self.stage, optimizer, inputs.observer.message)
        self.progress = Progress(self.stage.input_hash)

    def indices(self, step: int) -> Indices:
        """Return the texts of a step."""
        return self.stage.batches.indices(step)

    def step(self, indices: Indices) -> None:
        """Do the next step, from token ids to new weights."""
        self.updates(self.stage.examples.batch(indices).to(self.stage.device.device), self.progress)
        self.progress.step += 1


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, write the document and the tables."""
    arguments = _parser().parse_args(argv)
    torch.set_num_threads(arguments.threads)
    recipe = load_recipe(arguments.run / "recipe.yaml")
    dataset = load_dataset(recipe.data)
    cases = []
    for cached in (False, True):
        with TemporaryDirectory(prefix="hrkd-speed-") as name:  # the cache goes with it
            folder = Path(name) / "teacher"
            folder.symlink_to((arguments.run / "teacher").resolve())
            trainings = [Training(_inputs(recipe, variant, cached, dataset, folder)) for variant in GraphVariant]
            cases.append({"cached_teacher": cached, **_measure(trainings, arguments.rounds, recipe)})
    write_json(
        arguments.output,
        {
            "schema_version": SCHEMA_VERSION,
            "command": ["python", "-m", "speed.train_graphs", *sys.argv[1:]],
            "environment": describe_environment().model_dump(mode="json"),
            "threads": arguments.threads,
            "steps_per_round": recipe.method.graph.update_every,
            "cases": cases,
        },
    )
    if arguments.output.parent == RESULTS:
        write_tables()
    return 0


def _inputs(
    recipe: Recipe, variant: GraphVariant, cached: bool, dataset: DomainDataset, folder: Path
) -> DistillationInputs:
    graph = recipe.method.graph.model_copy(update={"variant": variant})
    changes = {
        "method": recipe.method.model_copy(update={"graph": graph}),
        "training": recipe.training.model_copy(update={"cache_teacher": cached}),
    }
    own = recipe.model_copy(update=changes)
    run = RunFolder(folder.parent / variant)
    readers = Readers.of(own, folder)
    return DistillationInputs(
        own, run, dataset, copy.deepcopy(verified_teacher(folder)), folder, readers, Observer(), False, False
    )


def _measure(trainings: Sequence[Training], rounds: int, recipe: Recipe) -> dict[str, Any]:
    """Let the variants take turns over the same texts."""
    every = recipe.method.graph.update_every
    seconds: dict[str, list[float]] = {training.name: [] for training in trainings}
    for turn in range(-1, rounds):
        for place in range(len(trainings)):
            training = trainings[(place + turn) % len(trainings)]
            first = training.progress.step
            steps = [training.indices(step) for step in range(first, first + every)]
            taken = seconds_of(training, steps, training.stage.device.device)
            if turn >= 0:  # the first turn warms up
                seconds[training.name].append(taken.wall)
        sys.stderr.write(f"round {turn + 1} of {rounds}\n")
    return {
        "device": trainings[0].stage.device.describe(),
        "examples_per_round": every * len(steps[0]),
        "seconds": seconds,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m speed.train_graphs", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("run", type=Path, help="run folder, e.g. runs/demo")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=12, help="of as many steps as lie between two outer updates")
    parser.add_argument("--output", type=Path, default=RESULTS / "train_graphs.json")
    return parser


if __name__ == "__main__":
    sys.exit(main())

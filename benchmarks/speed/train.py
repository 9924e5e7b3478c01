"""Training speed: our step beside a plain loop over domains and TextBrewer, same losses, same texts, one run.

    PYTHONPATH=benchmarks:TEXTBREWER python -m speed.train runs/demo
    PYTHONPATH=benchmarks python -m speed.train_sweep --device cuda

The run's teacher and a fresh student of its recipe train on its texts, up to 128 tokens long. The contestants take
turns; a step counts from token ids to new weights. Every round has each length that a training has, as often as a
training has it. Before anything is timed, our loss and the plain loop's are compared on one batch. TEXTBREWER is a
folder made with `pip install --target TEXTBREWER textbrewer`; without it, it is missing from the tables.
"""

from __future__ import annotations

# ruff: noqa: TID253  (training is what is measured here)
import argparse
import copy
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch

from hrkd.artifact import write_json
from hrkd.data.batches import WINDOW_STEPS, DomainBatches
from hrkd.data.collate import Collator, TokenizedExamples
from hrkd.data.load import load_dataset
from hrkd.device import Device
from hrkd.errors import BenchError
from hrkd.models import MultiDomainClassifier, load_classifier, load_tokenizer
from hrkd.models.student import build_student
from hrkd.recipe import MethodConfig, Recipe
from hrkd.recipe_file import load_recipe
from hrkd_bench.machine.environment import describe_environment
from speed.tables import RESULTS, write_tables
from speed.train_growth import TOTAL, grow
from speed.train_loop import PlainLoop, check_agreement
from speed.train_roofline import counted_flops, product_rate
from speed.train_steps import Contestant, HrkdStep, Indices, seconds_of
from speed.train_textbrewer import TextBrewerStep, unavailable

LENGTH = 128
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
CASES = (("released", "bf16"), ("default", "bf16"), ("released", "fp32"))
"""Objective and number format."""
PARTS = 8
"""Of a round: contestants take turns in each, with every eighth step of a window sorted by length."""
GROWTH_ROUNDS = 8
SCHEMA_VERSION = 2


class Entry(NamedTuple):
    """A contestant and how many steps it does in a round: a whole window where its time depends on the texts' length.

    One that pads to a fixed length needs few steps, and one that draws random texts a number of its own.
    """

    contestant: Contestant
    steps: int = WINDOW_STEPS

    def of_part(self, window: Sequence[Indices], part: int) -> Sequence[Indices]:
        """Return the steps of a part of the round."""
        if self.steps == WINDOW_STEPS:
            return window[part::PARTS]
        return window[part::PARTS][:1] if part % (PARTS // self.steps) == 0 else []


class Setting(NamedTuple):
    """What all cases share.

    Attributes:
        recipe: Of the run.
        teacher: The run's.
        examples: Its training texts, tokenised.
        window: Examples of each step of one window, from short to long texts.
    """

    recipe: Recipe
    teacher: MultiDomainClassifier
    examples: TokenizedExamples
    window: list[Indices]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure all cases and curves, write the document and the tables."""
    arguments = _parser().parse_args(argv)
    torch.set_num_threads(arguments.threads)
    setting = _setting(arguments.run)
    missing = unavailable()
    document: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "command": ["python", "-m", "speed.train", *sys.argv[1:]],
        "environment": describe_environment().model_dump(mode="json"),
        "device": Device(torch.device(arguments.device), torch.float32).describe().partition(",")[0],
        "threads": arguments.threads,
        "batch_size": setting.recipe.training.batch_size,
        "domains": setting.teacher.num_domains,
        "length": LENGTH,
        "mean_tokens": float(setting.examples.lengths.mean()),
        "missing": {} if missing is None else {"TextBrewer": missing},
        "cases": [],
    }
    growth = Device(torch.device(arguments.device), torch.bfloat16)
    document["growth"] = {
        "objective": "released",
        "precision": "bf16",
        "examples": TOTAL,
        "curves": grow(_method("released"), growth, GROWTH_ROUNDS),
    }
    for objective, precision in CASES:
        sys.stderr.write(f"{objective} objective, {precision}\n")
        device = Device(torch.device(arguments.device), PRECISIONS[precision])
        case = _case(setting, objective, device, arguments.rounds)
        document["cases"].append({"objective": objective, "precision": precision, **case})
        write_json(arguments.output, document)  # what is measured stays when a later case is interrupted
    if arguments.output.parent == RESULTS:
        write_tables()
    return 0


def _setting(run: Path) -> Setting:
    recipe = load_recipe(run / "recipe.yaml")
    teacher = load_classifier(run / "teacher")
    dataset = load_dataset(recipe.data)
    examples = Collator(load_tokenizer(run / "teacher"), LENGTH).encode(dataset.train)
    batches = DomainBatches(
        dataset.train, examples.lengths, recipe.training.batch_size, teacher.num_domains, recipe.seed
    )
    window = sorted(
        (batches.indices(step) for step in range(WINDOW_STEPS)), key=lambda indices: examples.lengths[indices].max()
    )
    return Setting(recipe, teacher, examples, window)


def _method(objective: str) -> MethodConfig:
    return MethodConfig() if objective == "default" else MethodConfig.model_validate({"preset": objective})


def _case(setting: Setting, objective: str, device: Device, rounds: int) -> dict[str, Any]:
    """Measure all contestants with one objective in one number format."""
    with TemporaryDirectory(prefix="hrkd-speed-") as folder:
        ours, loop = _own(setting, objective, device)
        _, bucketed = _own(setting, objective, device, length=None)
        exact = Device(device.device, torch.float32)
        apart = check_agreement(*_own(setting, objective, exact), _batch(setting, device))
        entries = [Entry(ours), Entry(loop, 2), Entry(bucketed), *_textbrewer(setting, ours, device, Path(folder))]
        taken = _measure(entries, setting.window, rounds, device)
    return {
        "disagreement": apart,
        "product_flops_per_second": product_rate(device),
        "hrkd_flops_per_example": counted_flops(ours, setting.window),
        "contestants": [{"name": name, **values} for name, values in taken.items()],
    }


def _own(setting: Setting, objective: str, device: Device, length: int | None = LENGTH) -> tuple[HrkdStep, PlainLoop]:
    """Return our step and the plain loop, of the same weights and not trained yet.

    Args:
        setting: What all cases share.
        objective: Name of the preset.
        device: Where to run, and in which number format.
        length: To which the loop pads; None for the longest text of a domain's batch.
    """
    teacher = copy.deepcopy(setting.teacher).to(device.device)
    student = _student(setting)
    config = setting.recipe.training
    ours = HrkdStep("hrkd", teacher, student, _method(objective), setting.examples, device, config)
    name = f"plain loop over domains, padded to {length}" if length else "plain loop over domains, padded per batch"
    loop = PlainLoop(name, ours, setting.teacher, student, setting.examples, length, config)
    return ours, loop


def _student(setting: Setting) -> MultiDomainClassifier:
    torch.manual_seed(setting.recipe.seed)
    student = build_student(setting.teacher, setting.recipe.student)
    if not isinstance(student, MultiDomainClassifier):
        raise BenchError("this measurement takes one student for all domains", hint="use runs/demo")
    return student


def _textbrewer(setting: Setting, ours: HrkdStep, device: Device, folder: Path) -> list[Entry]:
    imitation = ours.objective.imitation
    if unavailable() is not None or imitation is None:
        return []
    return [
        Entry(
            TextBrewerStep(
                name,
                setting.teacher,
                _student(setting),
                ours.objective.config,
                imitation.layer_map,
                setting.examples,
                device,
                setting.recipe.training,
                folder,
                length,
            ),
            steps,
        )
        for name, length, steps in (
            ("TextBrewer, padded per batch", None, PARTS),
            (f"TextBrewer, padded to {LENGTH}", LENGTH, 2),
        )
        if length is None or ours.objective.config.attention_weight  # its examples pad; once is enough to see it
    ]


def _batch(setting: Setting, device: Device) -> Any:
    return setting.examples.batch(setting.window[WINDOW_STEPS // 2]).to(device.device)


def _measure(
    entries: Sequence[Entry], window: Sequence[Indices], rounds: int, device: Device
) -> dict[str, dict[str, list[float]]]:
    """Let the contestants take turns in every part of every round; returns sums of each round by name."""
    names = [entry.contestant.name for entry in entries]
    found = {name: {"examples": [0.0] * rounds, "seconds": [0.0] * rounds} for name in names}
    for entry in entries:  # warm up, the longest batch included
        seconds_of(entry.contestant, window[:: 1 - WINDOW_STEPS], device.device)
    for turn in range(rounds * PARTS):
        for place in range(len(entries)):
            entry = entries[(place + turn) % len(entries)]
            steps, own = entry.of_part(window, turn % PARTS), found[entry.contestant.name]
            own["examples"][turn // PARTS] += sum(map(len, steps))
            own["seconds"][turn // PARTS] += seconds_of(entry.contestant, steps, device.device).wall
        if (turn + 1) % PARTS == 0:
            sys.stderr.write(f"  round {(turn + 1) // PARTS} of {rounds}\n")
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m speed.train", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("run", type=Path, help="run folder, e.g. runs/demo")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3, help="each with every length of a window")
    parser.add_argument("--output", type=Path, default=RESULTS / "train.json")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""Examples per second against the batch size, with random weights and texts of random lengths: for a GPU.

    PYTHONPATH=benchmarks python -m speed.train_sweep --device cuda

BERT-base teaches a student of 4 layers x 312. Our step and the plain loop take turns at every batch size; a size that
does not fit into the memory is noted as such.
"""

from __future__ import annotations

# ruff: noqa: TID253  (training is what is measured here)
import argparse
import copy
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hrkd.artifact import write_json
from hrkd.data.collate import TokenizedExamples
from hrkd.device import Device
from hrkd.recipe import MethodConfig, TrainingConfig
from hrkd_bench.machine.environment import describe_environment
from speed.tables import RESULTS, write_tables
from speed.train_loop import PlainLoop, check_agreement
from speed.train_roofline import counted_flops, product_rate
from speed.train_shapes import SHAPES, mixed_lengths, random_classifier, random_examples
from speed.train_steps import Contestant, HrkdStep, Indices, seconds_of

BATCHES = (8, 16, 32, 64, 128, 256)
DOMAINS = 4
LENGTH = 128
STEPS = 8
"""Of ours in one round, from short to long texts, as length-bucketed batches come."""
SMALL = 8
"""Texts of each domain on which the losses are compared."""
SCHEMA_VERSION = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Measure all batch sizes, write the document and the tables."""
    arguments = _parser().parse_args(argv)
    torch.set_num_threads(arguments.threads)
    device = Device(torch.device(arguments.device), torch.bfloat16)
    document = {
        "schema_version": SCHEMA_VERSION,
        "command": ["python", "-m", "speed.train_sweep", *sys.argv[1:]],
        "environment": describe_environment().model_dump(mode="json"),
        "device": device.describe(),
        "teacher": arguments.teacher,
        "student": arguments.student,
        "domains": DOMAINS,
        "length": LENGTH,
        "product_flops_per_second": product_rate(device),
        "batches": [_point(size, arguments, device) for size in arguments.batch],
    }
    write_json(arguments.output, document)
    if arguments.output.parent == RESULTS:
        write_tables()
    return 0


def _point(size: int, arguments: argparse.Namespace, device: Device) -> dict[str, Any]:
    """Measure both contestants with ``size`` examples per domain."""
    sys.stderr.write(f"{size} examples per domain\n")
    examples = random_examples(mixed_lengths(size * DOMAINS * STEPS, LENGTH), DOMAINS)
    steps = _bucketed(examples, size)
    first = examples.batch(steps[0][:: max(1, size // SMALL)]).to(device.device)
    exact = _contestants(arguments, examples, Device(device.device, torch.float32))
    found: dict[str, Any] = {"batch_size": size, "disagreement": check_agreement(*exact, first)}
    del exact
    ours, loop = _contestants(arguments, examples, device)
    flops = _unless_full(lambda: counted_flops(ours, steps[:: STEPS // 2]))
    seconds: dict[str, list[float] | None] = {ours.name: [], loop.name: []}
    for turn in range(-1, arguments.rounds):
        for one, own in ((ours, steps), (loop, steps[:1])):
            taken = _unless_full(partial(_seconds, one, own, device))
            samples = seconds[one.name]
            if taken is None:
                seconds[one.name] = None
            elif samples is not None and turn >= 0:  # the first turn warms up
                samples.append(taken / sum(map(len, own)))
    return found | {"hrkd_flops_per_example": flops, "seconds_per_example": seconds}


def _contestants(
    arguments: argparse.Namespace, examples: TokenizedExamples, device: Device
) -> tuple[HrkdStep, PlainLoop]:
    teacher, student = (random_classifier(SHAPES[name], DOMAINS) for name in (arguments.teacher, arguments.student))
    method, config = MethodConfig.model_validate({"preset": "released"}), TrainingConfig()
    ours = HrkdStep(
        "hrkd", copy.deepcopy(teacher).to(device.device), copy.deepcopy(student), method, examples, device, config
    )
    return ours, PlainLoop("plain loop over domains", ours, teacher, student, examples, LENGTH, config)


def _bucketed(examples: TokenizedExamples, size: int) -> list[Indices]:
    """Return steps of ``size`` examples of each domain, each domain sorted by length."""
    columns = []
    for domain in range(DOMAINS):
        members = np.flatnonzero(examples.domains == domain)
        columns.append(members[np.argsort(examples.lengths[members], kind="stable")].reshape(STEPS, size))
    return list(np.concatenate(columns, axis=1))


def _seconds(contestant: Contestant, steps: Sequence[Indices], device: Device) -> float:
    return seconds_of(contestant, steps, device.device).wall


def _unless_full(work: Callable[[], float]) -> float | None:
    """Return what ``work`` returns; None where the device's memory does not suffice."""
    try:
        return work()
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m speed.train_sweep", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument("--device", default="cuda", help="cuda or cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--batch", type=int, nargs="+", default=list(BATCHES), help="examples per domain")
    parser.add_argument("--teacher", choices=SHAPES, default="bert-base")
    parser.add_argument("--student", choices=SHAPES, default="tinybert-4x312")
    parser.add_argument("--output", type=Path, default=RESULTS / "train_sweep.json")
    return parser


if __name__ == "__main__":
    sys.exit(main())

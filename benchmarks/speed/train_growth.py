"""How the cost of our step per example grows with domains, layers and length: one curve each, all else fixed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hrkd.device import Device
from hrkd.recipe import MethodConfig, TrainingConfig
from hrkd.recipe.presets import StudentShape
from speed.train_shapes import all_of, random_classifier, random_examples
from speed.train_steps import HrkdStep, Taken, seconds_of

TOTAL = 64
"""Examples in a step, however many domains share them."""
TEACHER = StudentShape(6, 384, 12, 1536)
STUDENT = StudentShape(3, 384, 12, 1536)
DOMAINS, LAYERS, LENGTHS = (2, 4, 8, 16, 32, 64), (1, 2, 3, 6), (16, 32, 64, 128)
TOKENS, FEW_DOMAINS = 32, 4


def grow(method: MethodConfig, device: Device, rounds: int) -> list[dict[str, Any]]:
    """Measure all curves; the points of a curve take turns.

    Args:
        method: The objective.
        device: Where to run, and in which number format.
        rounds: Steps of each point.

    Returns:
        One mapping per curve: ``what``, and ``points`` with the value and the seconds of each step per example.
    """
    curves = {
        "domains": {number: _step(method, device, domains=number) for number in DOMAINS},
        "layers of the student": {number: _step(method, device, layers=number) for number in LAYERS},
        "tokens": {number: _step(method, device, tokens=number) for number in LENGTHS},
    }
    return [{"what": what, "points": _measure(points, device, rounds)} for what, points in curves.items()]


def _step(
    method: MethodConfig,
    device: Device,
    *,
    domains: int = FEW_DOMAINS,
    layers: int = STUDENT.layers,
    tokens: int = TOKENS,
) -> HrkdStep:
    examples = random_examples([tokens] * TOTAL, domains)
    teacher, student = (
        random_classifier(shape, domains).to(device.device) for shape in (TEACHER, STUDENT._replace(layers=layers))
    )
    return HrkdStep("hrkd", teacher, student, method, examples, device, TrainingConfig())


def _measure(points: dict[int, HrkdStep], device: Device, rounds: int) -> list[dict[str, Any]]:
    seconds: dict[int, list[Taken]] = {value: [] for value in points}
    values: Sequence[int] = tuple(points)
    for turn in range(-1, rounds):
        for place in range(len(values)):
            value = values[(place + turn) % len(values)]
            step = points[value]
            taken = seconds_of(step, [all_of(step.examples)], device.device)
            if turn >= 0:  # the first turn warms up
                seconds[value].append(taken)
    return [
        {
            "value": value,
            "seconds_per_example": [taken.wall / TOTAL for taken in seconds[value]],
            "processor_seconds_per_example": [taken.processor / TOTAL for taken in seconds[value]],
        }
        for value in values
    ]

"""The part of `benchmarks/speed/RESULTS.md` about training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hrkd.metrics import Interval, bootstrap_interval
from hrkd.significance import geometric_mean_interval

MANY, FEW, MOST_GROWTH = 16, 4, 1.25
"""What many domains may cost per example, as a multiple of few."""


def render_training(document: Mapping[str, Any]) -> str:
    """Return the tables of one measurement of training steps.

    Args:
        document: Written by :mod:`speed.train`.
    """
    lines = [
        "## Training",
        "",
        f"Made by `{' '.join(document['command'])}`: {document['domains']} domains x {document['batch_size']} texts in "
        f"a step, {document['mean_tokens']:.0f} tokens on average and {document['length']} at most, "
        f"{document['device']}, {document['threads']} thread(s), contestants in turns. "
        f"Machine: {document['environment']['cpu']}. A step goes from token ids to new weights. Every round has all "
        "lengths that a training has, as often as a training has them; the interval is Student's over the rounds' "
        "ratios. The plain loop passes every domain by itself and hands out all attention scores; padded to the limit, "
        "it does what the released code does.",
        "",
    ]
    lines += [f"{name} is missing: {reason}\n" for name, reason in document["missing"].items()]
    for case in document["cases"]:
        lines += _case(case)
    return "\n".join([*lines, *_growth(document["growth"])]).rstrip() + "\n"


def render_sweep(document: Mapping[str, Any]) -> str:
    """Return the table of batch sizes.

    Args:
        document: Written by :mod:`speed.train_sweep`.
    """
    lines = [
        "## Training: batch sizes",
        "",
        f"Made by `{' '.join(document['command'])}`: `{document['teacher']}` teaches `{document['student']}`, random "
        f"weights, {document['domains']} domains, texts of VADER's lengths up to {document['length']} tokens, the "
        f"released objective, {document['device']}.",
        "",
        "| texts per domain | hrkd, examples/s | plain loop, examples/s | times as fast | of the product rate |",
        "|--:|--:|--:|--:|--:|",
    ]
    for point in document["batches"]:
        ours, loop = point["seconds_per_example"].values()
        cells = [str(point["batch_size"]), _rate(ours), _rate(loop), "", ""]
        if ours and loop:
            cells[3] = _written(ratio_of_medians(loop, ours))
        if ours and point["hrkd_flops_per_example"]:
            share = point["hrkd_flops_per_example"] / float(np.median(ours)) / document["product_flops_per_second"]
            cells[4] = f"{100 * share:.0f} %"
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def ratio_of_medians(numerator: ArrayLike, denominator: ArrayLike) -> Interval:
    """Return the ratio of two medians with its interval over rounds; the rounds of both are drawn together.

    Args:
        numerator: Seconds of each round, (n,).
        denominator: The same rounds of another contestant, (n,).
    """
    return bootstrap_interval(np.stack([np.asarray(numerator), np.asarray(denominator)], axis=1), _ratio)


def _ratio(rounds: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.median(rounds[:, 0]) / np.median(rounds[:, 1]))


def render_graphs(document: Mapping[str, Any]) -> str:
    """Return the table of what a graph costs.

    Args:
        document: Written by :mod:`speed.train_graphs`.
    """
    lines = [
        "## Training: what a graph costs",
        "",
        f"Made by `{' '.join(document['command'])}`: the demo's student, real steps of `hrkd distill`, of which "
        f"{document['steps_per_round']} make a round and the last one of a round holds the outer update of `meta`; "
        f"{document['threads']} thread(s), variants in turns, Student's interval over "
        f"{len(document['cases'][0]['seconds']['uniform'])} rounds. Machine: {document['environment']['cpu']}, "
        f"{document['cases'][0]['device']}.",
        "",
        "| teacher | graph | examples/s | times the time of `uniform` |",
        "|---|---|--:|--:|",
    ]
    for case in document["cases"]:
        base = np.asarray(case["seconds"]["uniform"])
        for name, seconds in case["seconds"].items():
            samples = np.asarray(seconds)
            versus = "" if name == "uniform" else _written(geometric_mean_interval(samples / base))
            answers = "answers cached" if case["cached_teacher"] else "runs in every step"
            lines.append(f"| {answers} | {name} | {_rate(samples / case['examples_per_round'])} | {versus} |")
    return "\n".join(lines) + "\n"


def _case(case: Mapping[str, Any]) -> list[str]:
    seconds = {one["name"]: np.asarray(one["seconds"]) / np.asarray(one["examples"]) for one in case["contestants"]}
    ours = seconds["hrkd"]
    share = case["hrkd_flops_per_example"] / float(np.median(ours)) / case["product_flops_per_second"]
    lines = [
        f"### {case['objective'].capitalize()} objective, {case['precision']}",
        "",
        f"On one batch our loss and the plain loop's differ by at most {max(case['disagreement'], 1e-7):.0e} of it. "
        f"Our products run at {100 * share:.0f} % of the rate of large square ones "
        f"({case['product_flops_per_second'] / 1e9:.0f} GFLOP/s).",
        "",
        "| | examples/s | hrkd is times as fast (95 % interval) |",
        "|---|--:|--:|",
    ]
    for name, samples in sorted(seconds.items(), key=lambda item: float(np.median(item[1]))):
        versus = "" if name == "hrkd" else _written(geometric_mean_interval(samples / ours))
        lines.append(f"| {name} | {_rate(samples)} | {versus} |")
    return [*lines, ""]


def _growth(growth: Mapping[str, Any]) -> list[str]:
    lines = [
        f"### How the cost grows ({growth['objective']} objective, {growth['precision']})",
        "",
        f"Random weights, teacher 6 x 384, student 3 x 384, {growth['examples']} texts in a step, one thing varied "
        "at a time from 4 domains, 3 layers and 32 tokens.",
        "",
    ]
    for curve in growth["curves"]:
        points = curve["points"]
        base = next((point for point in points if point["value"] == FEW), points[0])
        lines += [f"| {curve['what']} | ms per example | times {base['value']} |", "|--:|--:|--:|"]
        for point in points:
            samples = point["seconds_per_example"]
            versus = "" if point is base else _written(ratio_of_medians(samples, base["seconds_per_example"]))
            lines.append(f"| {point['value']} | {1e3 * float(np.median(samples)):.2f} | {versus} |")
        lines.append("")
    return [*lines, _verdict(growth["curves"])]


def _verdict(curves: Sequence[Mapping[str, Any]]) -> str:
    points = {point["value"]: point["seconds_per_example"] for point in curves[0]["points"]}
    ratio = ratio_of_medians(points[MANY], points[FEW])
    held = "held" if ratio.value <= MOST_GROWTH else "missed"
    return (
        f"{MANY} domains cost {_written(ratio)} times {FEW} per example; at most {MOST_GROWTH} was asked for: {held}."
    )


def _rate(seconds: ArrayLike | None) -> str:
    return "n/a" if seconds is None else f"{1.0 / float(np.median(np.asarray(seconds))):.0f}"


def _written(ratio: Interval) -> str:
    return f"{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"

"""Markdown tables of one group of runs: accuracy, differences, cost."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import numpy as np
from numpy.typing import NDArray

from paper.groups import Group, TextChoice
from paper.plan import TEACHER
from paper.provenance import machine_kind
from paper.statistics import Difference, Verdict, difference, domain_means

DIGITS = 9
"""Values are rounded to this before they are written: the last bit of a sum must not decide the last digit shown."""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, the first column to the left and the others to the right."""
    lines = [header, ["---"] + ["--:"] * (len(header) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def percent(value: float, digits: int = 1) -> str:
    """Write a fraction in percent, without the sign."""
    return f"{round(100 * value, DIGITS):.{digits}f}"


def points(value: float) -> str:
    """Write a difference of fractions in points, signed."""
    text = f"{round(100 * value, DIGITS):+.2f}"
    return "0.00" if text in ("-0.00", "+0.00") else text


def spread(values: Sequence[float] | NDArray[np.float64], digits: int = 1) -> str:
    """Write the mean over seeds and their standard deviation, in percent."""
    mean = percent(float(np.mean(values)), digits)
    return mean if len(values) < 2 else f"{mean} ± {percent(float(np.std(values, ddof=1)), digits)}"


def seeds_cell(group: Group, method: str) -> str:
    """Write the number of seeds, marked when the plan wants more."""
    own = len(group.runs[method])
    wanted = group.wanted_seeds.get(method, own)
    return f"**{own} of {wanted}**" if own < wanted else str(own)


def accuracy_table(group: Group, texts: TextChoice) -> str:
    """Return accuracy by domain and on average, mean and standard deviation over seeds, and what is kept."""
    rows = []
    for method in group.runs:
        means = domain_means(group.correct(method, group.seeds(method))[:, texts.keep], texts.domains)
        cells = [spread(means[:, domain]) for domain in range(means.shape[1])]
        average = f"**{spread(means.mean(axis=1), 2)}**"
        rows.append([method, seeds_cell(group, method), *cells, average, kept(group, method, texts)])
    return table(["method", "seeds", *group.facts.domain_names, "average", "of teacher"], rows)


def kept(group: Group, method: str, texts: TextChoice) -> str:
    """Write how much of the teacher's average accuracy a method keeps, over the seeds that both have."""
    seeds = group.seeds(method, TEACHER)
    if not seeds or method == TEACHER:
        return "-"
    own, teacher = (
        domain_means(group.correct(name, seeds)[:, texts.keep], texts.domains).mean() for name in (method, TEACHER)
    )
    return f"{percent(float(own / teacher))} %"


def difference_table(group: Group, texts: TextChoice, baselines: Sequence[str]) -> str:
    """Return the differences of average accuracy to each baseline that has runs, with intervals and verdicts."""
    present = [name for name in baselines if name in group.runs]
    rows = [
        [method, *(difference_cell(compare(group, method, baseline, texts)) for baseline in present)]
        for method in group.runs
    ]
    return table(["method", *(f"minus {name}" for name in present)], rows)


def compare(group: Group, method: str, baseline: str, texts: TextChoice) -> Difference | None:
    """Compare a method with a baseline over the seeds that both have; None with itself or without a common seed."""
    seeds = group.seeds(method, baseline)
    if method == baseline or not seeds:
        return None
    own, other = (group.correct(name, seeds)[:, texts.keep] for name in (method, baseline))
    return difference(own, other, texts.domains)


def difference_cell(found: Difference | None) -> str:
    """Write a difference in points, its interval, and what it says."""
    if found is None:
        return "-"
    interval = found.interval
    words = f"**{found.verdict}**" if found.verdict in (Verdict.BETTER, Verdict.WORSE) else found.verdict.value
    return f"{points(interval.value)} ({points(interval.low)} to {points(interval.high)}) {words}"


def cost_table(group: Group, baseline: str) -> str:
    """Return steps, speed and time by method, on each kind of machine; the ratio is within one kind."""
    kinds = sorted({machine_kind(run.machine) for runs in group.runs.values() for run in runs.values()})
    rows = []
    for kind in kinds:
        speeds = {}
        for method, runs in group.runs.items():
            costs = [run.cost for run in runs.values() if machine_kind(run.machine) == kind]
            measured = [cost.examples_per_second for cost in costs if cost.examples_per_second is not None]
            if measured:
                speeds[method] = median(measured)
        for method, speed in speeds.items():
            costs = [run.cost for run in group.runs[method].values() if machine_kind(run.machine) == kind]
            ratio = f"{speed / speeds[baseline]:.2f}" if baseline in speeds else "-"
            minutes = median(cost.wall_seconds for cost in costs) / 60
            steps = f"{median(cost.total_steps for cost in costs):g}"
            rows.append([method, steps, f"{speed:.1f}", ratio, f"{minutes:.1f}", kind])
    header = ["method", "steps", "examples/s", f"of {baseline}", "minutes", "on"]
    return table(header, rows)

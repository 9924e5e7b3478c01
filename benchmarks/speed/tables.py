"""`benchmarks/speed/RESULTS.md` from the committed measurements."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hrkd.artifact import read_json, write_text
from hrkd.metrics import bootstrap_interval
from speed.train_tables import render_graphs, render_sweep, render_training

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results"
TABLES = FOLDER / "RESULTS.md"
REPEATABILITY = RESULTS / "repeatability.json"
MOST_DRIFT = 0.05
"""How far two measurements of the same ratio may lie apart."""


def write_tables(
    document: Path = RESULTS / "inference.json", destination: Path = TABLES, repeatability: Path = REPEATABILITY
) -> None:
    """Render the measurements as Markdown; repeatability and training where they were measured."""
    text = render(read_json(document))
    if repeatability.is_file():
        text += "\n" + render_repeatability(read_json(repeatability))
    training = {"train": render_training, "train_graphs": render_graphs, "train_sweep": render_sweep}
    for name, part in training.items():
        if (document.parent / f"{name}.json").is_file():
            text += "\n" + part(read_json(document.parent / f"{name}.json"))
    write_text(destination, text)


def render(document: Mapping[str, Any]) -> str:
    """Return the tables of one measurement.

    Args:
        document: Written by :mod:`speed.inference`.
    """
    machine = document["environment"]
    lines = [
        "# Speed of the demo's student",
        "",
        "Made by `"
        + " ".join(document["command"])
        + "`; rendered by `python -m speed.tables`. One thread, text in to label out, "
        f"{document['texts']} texts in {document['rounds']} interleaved rounds, domain `{document['domain']}`. "
        f"Machine: {machine['cpu']}.",
        "",
    ]
    for length in document["subjects"][0]["milliseconds"]:
        lines += _table(document["subjects"], length)
    return "\n".join(lines).rstrip() + "\n"


def render_repeatability(document: Mapping[str, Any]) -> str:
    """Return the table of tries, and how many of them held what they should.

    Args:
        document: Written by :mod:`speed.repeatability`.
    """
    tries = document["tries"]
    benches = [bench for one in tries for bench in one["benches"]]
    steady = sum(_drift(one) <= MOST_DRIFT for one in tries)
    equal, slower = (
        sum(bench[name]["verdict"] == verdict for bench in benches)
        for name, verdict in (("copy", "NOT SIGNIFICANT"), ("slowed", "SLOWER"))
    )
    lines = [
        "## Repeatability of the measurement",
        "",
        f"Made by `{' '.join(document['command'])}`: each try measures a bundle, itself, and itself slowed by "
        f"{100 * document['slowed_by']:.0f} %, twice in a row, {document['config']['rounds']} rounds each. "
        f"Machine: {document['environment']['cpu']}.",
        "",
        f"- The bundle's ratio to itself moved by at most {100 * MOST_DRIFT:.0f} % in {steady} of {len(tries)} tries.",
        f"- The copy was called NOT SIGNIFICANT in {equal} of {len(benches)} measurements.",
        f"- The slowed copy was called SLOWER in {slower} of {len(benches)} measurements.",
        f"- {sum(bench['valid'] for bench in benches)} of {len(benches)} measurements were undisturbed by the rules of "
        "`hrkd bench`.",
        "",
        "| try | p50, ms | copy, times as fast | verdict | slowed, times as fast | verdict | moved |",
        "|--:|--:|--:|---|--:|---|--:|",
    ]
    for number, one in enumerate(tries, start=1):
        for place, bench in enumerate(one["benches"]):
            drift = f"{100 * _drift(one):.1f} %" if place else ""
            cells = [f"{number}{'ab'[place]}", f"{bench['p50_ms']['bundle']:.3f}"]
            for name in ("copy", "slowed"):
                speedup = bench[name]["speedup"]
                cells.append(f"{speedup['value']:.3f} ({speedup['low']:.3f} to {speedup['high']:.3f})")
                cells.append(bench[name]["verdict"] or "n/a")
            lines.append(f"| {' | '.join([*cells, drift])} |")
    return "\n".join(lines) + "\n"


def _drift(one: Mapping[str, Any]) -> float:
    """Return by which share the ratio of the bundle to itself moved between a try's two measurements."""
    first, second = (bench["copy"]["speedup"]["value"] for bench in one["benches"])
    return abs(float(second) / float(first) - 1)


def _table(subjects: Sequence[Mapping[str, Any]], length: str) -> list[str]:
    best = min((subject for subject in subjects if subject["rival"] == "hrkd"), key=lambda one: _median(one, length))
    lines = [
        f"## {length} tokens",
        "",
        f"| | p50, ms | times `{best['name']}` (95 % interval) |",
        "|---|--:|--:|",
    ]
    for subject in sorted(subjects, key=lambda one: _median(one, length)):
        ratio = bootstrap_interval(
            np.stack([np.median(np.asarray(one["milliseconds"][length]), axis=1) for one in (subject, best)], axis=1),
            lambda rounds: np.asarray(np.median(rounds[:, 0]) / np.median(rounds[:, 1])),
        )
        versus = "" if subject is best else f"{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
        lines.append(f"| {subject['name']} | {_median(subject, length):.2f} | {versus} |")
    return [*lines, ""]


def _median(subject: Mapping[str, Any], length: str) -> float:
    return float(np.median(np.asarray(subject["milliseconds"][length])))


if __name__ == "__main__":
    write_tables()
    sys.exit(0)

"""`benchmarks/speed/RESULTS.md` from the committed measurement."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hrkd.artifact import read_json, write_text
from hrkd.metrics import bootstrap_interval

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results"
TABLES = FOLDER / "RESULTS.md"


def write_tables(document: Path = RESULTS / "inference.json", destination: Path = TABLES) -> None:
    """Render a measurement as Markdown."""
    write_text(destination, render(read_json(document)))


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

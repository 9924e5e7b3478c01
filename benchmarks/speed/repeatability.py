"""Does `hrkd bench` say the same twice, and the right thing? Tries with a bundle, itself, and a slowed copy of itself.

    python -m speed.repeatability runs/demo/bundles/int8

A try measures twice in a row: the bundle as baseline, the same bundle again, and the same bundle with a tenth of the
time of every call added. The ratio of bundle to itself must not move by more than 5 % between the two; the copy must be
called NOT SIGNIFICANT, the slowed one SLOWER. All settings are the defaults, without the fixed lengths.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hrkd.artifact import write_json
from hrkd.recipe import BenchConfig
from hrkd_bench.bench import bench_subjects
from hrkd_bench.engines import ENGINES
from hrkd_bench.subjects import subject_of
from speed.slowed import ENGINE, SHARE
from speed.tables import REPEATABILITY, write_tables

TRIES = 10
BUNDLE, COPY, SLOWED = "bundle", "copy", "slowed"
SCHEMA_VERSION = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Make all tries, write the document after each of them, and the tables at the end."""
    arguments = _parser().parse_args(argv)
    given = {} if arguments.rounds is None else {"rounds": arguments.rounds}
    config = BenchConfig(lengths=(), **given)
    tries: list[dict[str, Any]] = []
    for number in range(arguments.tries):
        documents = [_bench(arguments.bundle, config) for _ in range(2)]
        tries.append({"benches": [_summary(document) for document in documents]})
        sys.stderr.write(f"try {number + 1} of {arguments.tries}: {tries[-1]}\n")
        document = {
            "schema_version": SCHEMA_VERSION,
            "command": ["python", "-m", "speed.repeatability", *sys.argv[1:]],
            "config": config.model_dump(mode="json"),
            "slowed_by": SHARE,
            "environment": documents[-1]["environment"],
            "model_sha256": documents[-1]["results"][0]["model_sha256"],
            "tries": tries,
        }
        write_json(arguments.output, document)
    if arguments.output == REPEATABILITY:
        write_tables()
    return 0


def _bench(bundle: Path, config: BenchConfig) -> dict[str, Any]:
    """Measure a bundle, itself, and its slowed copy."""
    ENGINES[ENGINE] = replace(ENGINES["onnxruntime"], classifier="speed.slowed:SlowedClassifier")
    subject = subject_of(bundle)
    return bench_subjects(
        [replace(subject, name=COPY), replace(subject, name=SLOWED, engine=ENGINE)],
        baselines=[replace(subject, name=BUNDLE)],
        config=config,
    )


def _summary(document: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what the claims are about."""
    environment = document["environment"]
    value: dict[str, Any] = {
        "p50_ms": {row["name"]: row["latency_ms"]["end_to_end"]["p50"] for row in document["results"]},
        "valid": document["results"][0]["valid"],
        "steal_fraction": environment["steal_fraction"],
        "foreign_share": environment["foreign_share"],
    }
    for comparison in document["comparisons"]:
        value[comparison["subject"]] = {
            "speedup": comparison["speedup_p50"],
            "rounds": comparison["speedup_rounds"],
            "verdict": comparison["verdict"],
        }
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m speed.repeatability", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument("bundle", type=Path, help="bundle for onnxruntime, e.g. runs/demo/bundles/int8")
    parser.add_argument("--tries", type=int, default=TRIES)
    parser.add_argument("--rounds", type=int, default=None, help="instead of the default")
    parser.add_argument("--output", type=Path, default=REPEATABILITY)
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""Rebuild what README shows of the demo: the table, the comparisons, and the picture of the report.

    make demo
    hrkd export runs/demo/student --quantize auto --max-rows 17000 --max-size 10
    make readme

Takes runs/demo, writes benchmarks/results/demo.json (the measurement without its raw samples) and
demo_candidates.json, the blocks between the `numbers` and `candidates` marks of README.md, and docs/report.png where
Chromium is installed. With --check, only compares README with the committed JSON.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hrkd.artifact import read_json, write_json, write_text
from hrkd_bench.claims import words
from hrkd_bench.document.schema import BenchDocument

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
RESULT = ROOT / "benchmarks" / "results" / "demo.json"
CANDIDATES = ROOT / "benchmarks" / "results" / "demo_candidates.json"
PICTURE = ROOT / "docs" / "report.png"


def main() -> int:
    """Rebuild or compare; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only compare README with the committed JSON")
    parser.add_argument("--run", type=Path, default=ROOT / "runs" / "demo", help="run folder of the demo")
    arguments = parser.parse_args()
    if not arguments.check:
        take_over(arguments.run)
    text = README.read_text(encoding="utf-8")
    rebuilt = with_block(text, "numbers", render(BenchDocument.model_validate(read_json(RESULT))))
    rebuilt = with_block(rebuilt, "candidates", render_candidates(read_json(CANDIDATES)["candidates"]))
    if arguments.check:
        return int(text != rebuilt)
    write_text(README, rebuilt)
    take_picture(arguments.run / "report.html")
    return 0


def take_over(run: Path) -> None:
    """Copy the measurement without the raw samples, which are most of its size."""
    document = read_json(run / "bench.json")
    for result in document["results"]:
        result["samples_ms"], result["samples"] = [], None
    write_json(RESULT, document)
    candidates = run / "bundles" / "auto.candidates.json"
    if candidates.is_file():
        write_json(CANDIDATES, read_json(candidates))


def render(document: BenchDocument) -> str:
    """Return the Markdown between the marks."""
    rows = [
        "| | size | p50 | p95 | cold start | peak memory | accuracy | worst domain |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for result in document.results:
        worst = min(result.accuracy.domains, key=lambda name: result.accuracy.domains[name])
        latency = result.latency_ms.end_to_end
        cells = [
            words.subject_label(result),
            words.size(result.size_bytes),
            words.milliseconds(latency.p50),
            words.milliseconds(latency.p95),
            words.milliseconds(result.cold_start_ms),
            words.size(result.peak_rss_bytes),
            words.percent(result.accuracy.average),
            f"{words.percent(result.accuracy.worst)} ({worst})",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    sentences = [f"- {words.comparison_sentence(document, comparison)}" for comparison in document.comparisons]
    machine = (
        f"Measured by `make demo` on {document.environment.cpu}, {document.results[0].threads} thread, "
        f"{document.texts.count} test texts one at a time, tokenisation included."
    )
    return "\n".join([machine, "", *rows, "", *sentences])


def render_candidates(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the comparison of `--quantize auto` as Markdown; the winner in bold."""
    domains = list(rows[0]["domains"])
    lines = [
        f"| candidate | size | p50 | {' | '.join(domains)} | average | flips | |",
        f"|---|--:|--:|{'--:|' * len(domains)}--:|--:|---|",
    ]
    for row in rows:
        if row["latency_ms"] is None:
            lines.append(f"| {row['name']} |{' |' * (len(domains) + 4)} {row['reason']} |")
            continue
        name = f"**{row['name']}**" if row["won"] else row["name"]
        scores = [words.percent(row["domains"][domain]) for domain in domains]
        flips = "" if row["flips"] is None else words.percent(row["flips"])
        kept = f"; {len(row['kept_in_float'])} nodes kept in float" if row["kept_in_float"] else ""
        cells = [name, words.size(row["size_bytes"]), words.milliseconds(row["latency_ms"]), *scores]
        lines.append(f"| {' | '.join([*cells, words.percent(row['average']), flips, row['reason'] + kept])} |")
    return "\n".join(lines)


def with_block(text: str, name: str, block: str) -> str:
    """Replace what stands between the marks of a name."""
    start = text.index("\n", text.index(f"<!-- {name}: begin")) + 1
    return f"{text[:start]}\n{block}\n\n{text[text.index(f'<!-- {name}: end -->') :]}"


def take_picture(report: Path) -> None:
    """Photograph the upper part of the report page."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.stderr.write("no chromium: docs/report.png is left as it is\n")
        return
    PICTURE.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [
                browser,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--hide-scrollbars",
                f"--user-data-dir={profile}",
                "--window-size=1000,2330",
                f"--screenshot={PICTURE}",
                report.resolve().as_uri(),
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )


if __name__ == "__main__":
    sys.exit(main())

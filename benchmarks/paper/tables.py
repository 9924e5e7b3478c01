"""Render `RESULTS.md`, and the summary in README, from the committed JSON alone.

python -m paper.tables            write RESULTS.md, and README's block where README has its marks
python -m paper.tables --readme   the same, and an error when README has no marks
python -m paper.tables --check    write nothing; exit code 1 when something would change
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from hrkd.artifact import write_text
from hrkd.errors import ArtifactError, HrkdError
from hrkd_cli.output import print_error
from paper.documents import RESULTS
from paper.groups import Group, TextChoice, all_results, read_groups
from paper.markdown import accuracy_table, cost_table, difference_table, table
from paper.plan import PLAN, Plan, read_plan
from paper.provenance import ROOT, machine_kind
from paper.statistics import RESAMPLES
from paper.summary import BEGIN, END, has_marks, summary, with_summary

TABLES = Path(__file__).with_name("RESULTS.md")
README = ROOT / "README.md"
HOW_TO_READ = f"""\
Accuracy in percent on the test split, mean ± standard deviation over seeds; `average` is the unweighted mean over
domains. All methods of a seed share the teacher, the sample of training texts and the rule that the best step by
average validation accuracy is kept; what differs stands under Methods. That rule, and the clipping of gradients by
one norm, also holds for the K students of a method with one student per domain: chosen each by itself they might do
better. Rows may have different numbers of seeds; differences are taken over the seeds that both have.

Differences are in points of the average, paired by seed and test text, with a 95 % bootstrap interval ({RESAMPLES}
resamples) over test texts *and* seeds (`statistics.py` says how few seeds are dealt with). **better** and **worse**:
the interval lies on one side of zero. Intervals are not corrected for the number of comparisons: of 20 pairs of equal
methods, one is expected to look different. With one seed the interval is over texts alone, and there is no verdict."""
NOTHING = "No run has been committed yet: `make paper` makes them, `make paper-table` this file."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        return _render(arguments)
    except HrkdError as error:
        print_error(error.message, error.hint)
        return error.exit_code


def _render(arguments: argparse.Namespace) -> int:
    plan = read_plan(arguments.plan)
    groups = read_groups(arguments.results, plan)
    wanted = {arguments.output: document(groups, plan)}
    readme = arguments.readme_file.read_text(encoding="utf-8")
    if has_marks(readme):
        wanted[arguments.readme_file] = with_summary(readme, summary(groups, plan) or NOTHING)
    elif arguments.readme:
        raise ArtifactError(
            f"`{arguments.readme_file}` has no place for the summary", hint=f"write `{BEGIN}` and `{END}` into it"
        )
    if arguments.check:
        stale = [
            path for path, text in wanted.items() if not path.is_file() or path.read_text(encoding="utf-8") != text
        ]
        for path in stale:
            print_error(f"`{path}` is not what the JSON says", "make paper-table")
        return int(bool(stale))
    for path, text in wanted.items():
        write_text(path, text)
    return 0


def document(groups: list[Group], plan: Plan) -> str:
    """Return the whole of `RESULTS.md`."""
    parts = ["# Evidence", "<!-- made by `make paper-table` from the JSON in results/; do not edit -->"]
    if not groups:
        return "\n\n".join([*parts, NOTHING]) + "\n"
    parts += [_head(groups), HOW_TO_READ, "## Methods", _methods(groups, plan)]
    for index, group in enumerate(groups):
        if index == 0 or groups[index - 1].facts.dataset != group.facts.dataset:
            parts += [f"## {group.facts.dataset}", _about(group, plan)]
        parts += _group_parts(group, plan)
    return "\n\n".join(parts) + "\n"


def _group_parts(group: Group, plan: Plan) -> list[str]:
    leaks = int(group.facts.leaks().sum())
    parts = [f"### {group.facts.dataset}, {group.fraction:g} % of the training texts", *_notes(group)]
    for with_leaks in (True, False) if leaks else (True,):
        texts = TextChoice.of(group.facts, with_leaks=with_leaks)
        if not with_leaks:
            parts.append(f"#### Without the {leaks} test texts that also stand in train")
        parts += [accuracy_table(group, texts), difference_table(group, texts, plan.baselines)]
    if (later := group.later()).runs:
        parts += [
            f"#### Only the seeds that were decided on later ({', '.join(map(str, group.later_seeds))})",
            difference_table(later, TextChoice.of(group.facts, with_leaks=True), plan.baselines),
        ]
    return [*parts, "#### Cost", cost_table(group, "uniform")]


def _notes(group: Group) -> list[str]:
    """Say what a reader must know before comparing the rows."""
    notes = []
    if seeds := group.different_teachers():
        listed = ", ".join(map(str, seeds))
        notes.append(f"**Not all methods imitated the same teacher** (seed {listed}): it was trained again in between.")
    if any(len(runs) < group.wanted_seeds.get(method, 0) for method, runs in group.runs.items()):
        notes.append("Rows with **bold** seeds are not finished.")
    return notes


def _head(groups: list[Group]) -> str:
    results = list(all_results(groups))
    machines = sorted({machine_kind(result.machine) for result in results})
    versions = sorted({", ".join(f"{k} {v}" for k, v in sorted(one.machine.versions.items())) for one in results})
    commits = sorted({(one.commit or "none")[:12] + (" (changed)" if one.dirty else "") for one in results})
    hours = sum(result.cost.wall_seconds for result in results) / 3600
    lines = [
        f"- {len(results)} trainings, {hours:.1f} hours, on {'; '.join(machines)}",
        f"- {'; '.join(versions)}",
        f"- commits {', '.join(commits)}",
        "- made by `make paper`, rendered by `make paper-table`; every run's JSON stands in `results/`",
    ]
    return "\n".join(lines)


def _methods(groups: list[Group], plan: Plan) -> str:
    present = {name for group in groups for name in group.runs}
    rows = [
        [name, method.what, "; ".join(f"`{key}: {value}`" for key, value in method.overrides.items())]
        for name, method in plan.methods.items()
        if name in present
    ]
    return table(["method", "what", "recipe"], rows).replace("--:", "---")


def _about(group: Group, plan: Plan) -> str:
    facts = group.facts
    known = plan.datasets.get(facts.dataset)
    sizes = ", ".join(f"{split} {sum(counts.values())}" for split, counts in facts.sizes.items())
    leaks = int(facts.leaks().sum())
    return (
        f"{known.what if known else facts.dataset}. Texts: {sizes}; {leaks} test texts also stand in train. "
        f"Fingerprint {facts.fingerprint[:12]}."
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m paper.tables", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--check", action="store_true", help="write nothing, compare only")
    add("--readme", action="store_true", help="README must have the marks")
    add("--results", type=Path, default=RESULTS, metavar="FOLDER", help="the JSON (benchmarks/paper/results)")
    add("--plan", type=Path, default=PLAN, metavar="FILE", help="order, words and wanted seeds")
    add("--output", type=Path, default=TABLES, metavar="FILE", help="the tables (benchmarks/paper/RESULTS.md)")
    add("--readme-file", type=Path, default=README, metavar="FILE", help="README")
    return parser


if __name__ == "__main__":
    sys.exit(main())

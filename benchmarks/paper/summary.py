"""The block of README that shows the evidence in short."""

from __future__ import annotations

from hrkd.errors import ArtifactError
from paper.groups import Group, TextChoice
from paper.markdown import compare, difference_cell, kept, seeds_cell, spread, table
from paper.plan import TEACHER, Plan
from paper.statistics import domain_means

BEGIN, END = "<!-- paper:begin -->", "<!-- paper:end -->"


def summary(groups: list[Group], plan: Plan) -> str:
    """Return one table per data set and fraction; empty without runs."""
    parts = []
    for group in groups:
        methods = [name for name in (TEACHER, *plan.summary.methods) if name in group.runs]
        baselines = [name for name in plan.summary.baselines if name in group.runs]
        if methods:
            header = ["method", "seeds", "average", "of teacher", *(f"minus {name}" for name in baselines)]
            rows = [_row(group, name, baselines) for name in methods]
            parts.append(f"{group.facts.dataset}, {group.fraction:g} % of the training texts:\n\n{table(header, rows)}")
    return "\n\n".join(parts)


def _row(group: Group, method: str, baselines: list[str]) -> list[str]:
    texts = TextChoice.of(group.facts, with_leaks=True)
    averages = domain_means(group.correct(method, group.seeds(method)), texts.domains).mean(axis=1)
    differences = [difference_cell(compare(group, method, baseline, texts)) for baseline in baselines]
    return [method, seeds_cell(group, method), spread(averages, 2), kept(group, method, texts), *differences]


def has_marks(text: str) -> bool:
    """Whether a text has a place for the summary.

    Raises:
        ArtifactError: It has one mark without the other, or them in the wrong order.
    """
    begin, end = text.find(BEGIN), text.find(END)
    if (begin < 0) != (end < 0) or begin > end:
        raise ArtifactError(f"README needs both `{BEGIN}` and, after it, `{END}`")
    return begin >= 0


def with_summary(text: str, block: str) -> str:
    """Replace what stands between the marks."""
    start = text.index(BEGIN) + len(BEGIN)
    return f"{text[:start]}\n\n{block}\n\n{text[text.index(END) :]}"

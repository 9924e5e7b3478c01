"""Tables of results: whatever a domain or a label is called, its row says so."""

from __future__ import annotations

import pytest
from rich.console import Console
from rich.table import Table

from hrkd.artifact import StageRecord
from hrkd.data.check import DataReport, GroupCheck
from hrkd.data.dataset import Split
from hrkd_cli.candidates import candidate_table
from hrkd_cli.tables import data_table, stage_table

NAMES = ("[books]", "a [/b]")


def printed(table: Table) -> str:
    console = Console(width=300, no_color=True)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def data_report(name: str) -> DataReport:
    counts = dict.fromkeys(("duplicates", "in_train", "conflicts", "unseen_labels", "empty", "over_long"), 0)
    group = GroupCheck(domain=name, split=Split.TRAIN, size=1, labels={name: 1}, lengths={"p50": 3}, **counts)
    return DataReport(
        source=f"files {name}",
        fingerprint="0",
        domains=(name,),
        labels=(name,),
        size=1,
        duplicates=0,
        length_unit="tokens",
        length_limit=8,
        groups=(group,),
    )


@pytest.mark.parametrize("name", NAMES)
def test_names_are_not_terminal_markup(name: str) -> None:
    """Prevents a traceback after hours of training over a domain called `a [/b]`, and an empty cell for `[books]`."""
    record = StageRecord("student", "0", {}, {"validation": {name: 0.5}, "test": {name: 0.25}})
    assert name in printed(stage_table(record))
    assert printed(data_table(data_report(name))).count(name) == 3  # the source, the domain and its label


@pytest.mark.parametrize("name", NAMES)
def test_reasons_are_not_terminal_markup(name: str) -> None:
    """Prevents a candidate whose reason vanishes, or breaks the table, because it quotes a name with brackets."""
    row = {"name": f"way {name}", "reason": f"because {name}", "won": True, "valid": False}
    measured = {"latency_ms": 1.0, "size_bytes": 1, "average": 1.0, "worst": 1.0, "flips": None}
    assert printed(candidate_table([row | measured])).count(name) == 2
    assert printed(candidate_table([row | {"latency_ms": None}])).count(name) == 2

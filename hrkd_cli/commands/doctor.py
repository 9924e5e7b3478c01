"""`hrkd doctor`: what this machine and this installation can do."""

from __future__ import annotations

import typer

from hrkd_cli.options import Json, Quiet

EXAMPLES = """\b
Examples:
  hrkd doctor
  hrkd doctor --json
"""
EXIT_PROBLEM = 2


def command(as_json: Json = False, quiet: Quiet = False) -> None:
    """Look at this machine and this installation.

    Processor, GPU, what onnxruntime really loads, limits of the control group, packages that do not fit each other.
    Exit code 2 when something does not work.
    """
    from dataclasses import asdict

    from hrkd_cli.doctor import examine
    from hrkd_cli.output import Output
    from hrkd_cli.tables import findings_table

    findings = list(examine())
    Output(as_json, quiet).result({"findings": [asdict(finding) for finding in findings]}, findings_table(findings))
    if any(finding.status == "problem" for finding in findings):
        raise typer.Exit(EXIT_PROBLEM)

"""`hrkd doctor`: what this machine and this installation can do, found by trying it."""

from __future__ import annotations

from collections.abc import Iterator

from hrkd_cli.doctor.finding import Finding


def examine() -> Iterator[Finding]:
    """Yield the findings, the machine's first; each part is imported when it is its turn, some take seconds."""
    from hrkd_cli.doctor import accelerators, machine, packages

    yield from machine.findings()
    yield from packages.findings()
    yield from accelerators.findings()

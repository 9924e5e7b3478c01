"""What a device says about itself, and whether it can measure: refused before anything is copied there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hrkd.errors import BenchError
from hrkd.shape import ShapeError, from_json
from hrkd_bench.device.ssh import Connection, Target
from hrkd_bench.device.start import OLDEST, ROOM

VENV_BYTES = 400_000_000
"""Disk that a virtual environment of the three libraries takes while it is made, with some to spare."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """A device.

    Attributes:
        python: Version of the Python that was asked for.
        executable: Its path.
        system: Such as ``Linux``.
        machine: Architecture as the kernel names it.
        bits: Of that Python, which may be 32 on a 64-bit kernel.
        folder: Where our folder is made.
        free_bytes: Free disk there.
        versions: Of the libraries; None where one is missing.
        removed: Folders of runs that had died, removed just now.
    """

    python: tuple[int, ...]
    executable: str
    system: str
    machine: str
    bits: int
    folder: str
    free_bytes: int
    versions: dict[str, str | None]
    removed: tuple[str, ...]


def ask(target: Target) -> Facts:
    """Connect, and let the device describe itself; what dead runs left there is removed.

    Raises:
        BenchError: It cannot be reached, or has no Python.
    """
    with Connection(target, target.program("probe", target.folder)) as connection:
        for event in connection.events():
            if event.get("event") == "facts":
                return _parse(target, event)
        raise connection.failure("asking the device what it is")


def check(facts: Facts, host: str, runner_bytes: int, *, brings_wheels: bool) -> None:
    """Refuse a device that cannot measure.

    Args:
        facts: What it said.
        host: What errors call it.
        runner_bytes: Size of the packed runner.
        brings_wheels: Whether libraries travel as well.

    Raises:
        BenchError: The first reason.
    """
    version = ".".join(map(str, facts.python))
    if facts.bits != 64 or facts.machine.startswith(("armv6", "armv7")):
        raise BenchError(
            f"{host} runs 32-bit programs ({facts.machine}, Python of {facts.bits} bits): onnxruntime exists for 64 "
            "bits only",
            hint="install a 64-bit system there; a Raspberry Pi 3 or later can run one",
        )
    if facts.system not in ("Linux", "Darwin"):
        raise BenchError(
            f"{host} runs {facts.system}", hint="Linux and macOS are measured over ssh; pack a file instead"
        )
    if facts.python < OLDEST:
        raise BenchError(
            f"{host} has Python {version}, {OLDEST[0]}.{OLDEST[1]} or later is needed",
            hint="install a later one there, and pass --python PATH",
        )
    missing = [name for name, found in facts.versions.items() if found is None]
    if missing and not brings_wheels:
        raise BenchError(
            f"{host} lacks {', '.join(missing)}",
            hint=f"install them there (`{facts.executable} -m pip install {' '.join(missing)}`), "
            "or pass --wheels FOLDER with wheels for it",
        )
    needed = (ROOM + 1) * runner_bytes + (VENV_BYTES if brings_wheels else 0)
    if facts.free_bytes < needed:
        raise BenchError(
            f"{host} has {facts.free_bytes / 1e6:.0f} MB free for `{facts.folder}`, {needed / 1e6:.0f} MB are needed",
            hint="free some there, or choose another folder",
        )


def _parse(target: Target, event: Mapping[str, Any]) -> Facts:
    try:
        return from_json(Facts, {key: value for key, value in event.items() if key != "event"})
    except ShapeError as error:
        raise BenchError(f"{target.host} describes itself in a way that is not understood: {error}") from error

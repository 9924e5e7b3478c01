"""What stands beside every number: the recipe without paths, the machine, the commit."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from hrkd.recipe import Recipe
from hrkd_bench.machine.processor import read_processor
from paper.documents import Machine

ROOT = Path(__file__).parents[2]
CODE = ("hrkd", "benchmarks/paper/*.py", "benchmarks/paper/plan.yaml")
SECTIONS = {"seed", "data", "teacher", "student", "method", "training"}
PLACES = ("data.path", "data.split_file", "teacher.base", "teacher.adopt", "student.checkpoint")
"""Keys whose value may be a path; its last part is kept, which says what it is and not where it is."""


def described(recipe: Recipe) -> dict[str, Any]:
    """Return the sections that decide a run, every default spelled out, without paths."""
    value: dict[str, Any] = recipe.model_dump(mode="json", include=SECTIONS)
    for place in PLACES:
        section, key = place.split(".")
        value[section][key] = _nameless(value[section].get(key))
    return value


def described_overrides(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return overrides without paths."""
    return {key: _nameless(value) if key in PLACES else value for key, value in overrides.items()}


def changes(recorded: Mapping[str, Any], present: Mapping[str, Any], named: Mapping[str, Any]) -> list[str]:
    """Say in which keys a recorded recipe differs from the present one.

    A key that only one of them has came or went with a version of hrkd and says nothing, unless the plan names it.

    Args:
        recorded: From a result.
        present: :func:`described`.
        named: Overrides of the plan, by dotted key.
    """
    before, now = dict(_flat(recorded)), dict(_flat(present))
    found = [f"{key} was {before[key]!r}, is {now[key]!r}" for key in now if key in before and before[key] != now[key]]
    return found + [f"{key} is {now[key]!r}, and was unknown" for key in named if key in now and key not in before]


def describe_machine(device: str) -> Machine:
    """Describe where this process runs; call after the threads were set."""
    import torch

    versions = {"python": platform.python_version()}
    versions |= {name: metadata.version(name) for name in ("torch", "transformers", "numpy")}
    return Machine(device=device, cpu=read_processor().model, threads=torch.get_num_threads(), versions=versions)


def machine_kind(machine: Machine) -> str:
    """Return what runs must share for their speeds to be compared, in words."""
    threads = "1 thread" if machine.threads == 1 else f"{machine.threads} threads"
    return f"{machine.cpu}, {threads}, {machine.device}"


def read_commit() -> tuple[str | None, bool]:
    """Return the commit of the code, None outside a git checkout, and whether the code has changed since."""
    commit = _git("rev-parse", "HEAD")
    return (commit, bool(_git("status", "--porcelain", "--", *CODE))) if commit else (None, False)


def _git(*arguments: str) -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    done = subprocess.run([git, "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout.strip() if done.returncode == 0 else None


def _nameless(value: Any) -> Any:
    """Return what a path is called, without where it is; other values as they are (`package:NAME`, a Hub id)."""
    if isinstance(value, Mapping):
        return {key: _nameless(part) for key, part in value.items()}
    is_path = isinstance(value, str) and (Path(value).expanduser().is_absolute() or Path(value).exists())
    return Path(value).name if is_path else value


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, part in value.items():
        if isinstance(part, Mapping):
            yield from _flat(part, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", list(part) if isinstance(part, tuple) else part

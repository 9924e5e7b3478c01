"""Resource-limited targets by name: a table of limits, and what of them this machine can impose on a process.

A label is made from the limits themselves, so that no profile can call itself what it is not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hrkd.data.suggest import suggestion
from hrkd.errors import BenchError
from hrkd.recipe_file import read_yaml
from hrkd_bench.limits.confinement import Limits, check
from hrkd_bench.machine.cgroup import read_limits
from hrkd_bench.machine.cpus import affinity, available_cpus, distinct_cores

TABLE = Path(__file__).with_name("profiles.yaml")
DOCS = "see docs/profiles.md"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)")
_SMALLEST_MEMORY = 16 * 10**6  # less than an interpreter with numpy
_SMALLEST_QUOTA = 0.01  # the kernel's own limit


@dataclass(frozen=True, slots=True)
class Profile:
    """A row of the table.

    Attributes:
        name: What people type.
        what: One line for people.
        cores: Number of CPUs to keep to; None for all of ours.
        quota: CPU time per wall-clock time.
        memory_bytes: Memory of one process, without swap.
    """

    name: str
    what: str
    cores: int | None = None
    quota: float | None = None
    memory_bytes: int | None = None

    @property
    def label(self) -> str:
        """What the limits are and what they are not, for readers of the numbers."""
        parts = []
        if self.cores is not None:
            parts.append(f"cpu affinity: {self.cores} core(s) of this machine at full speed, with its whole caches")
        if self.quota is not None:
            parts.append(
                f"cfs-quota {self.quota:g}: a stopwatch, not a slower CPU; runs at full speed, then stands still until "
                "the next period of 100 ms"
            )
        if self.memory_bytes is not None:
            parts.append(
                f"memory limit {self.memory_bytes / 1e6:g} MB without swap, enforced by the kernel; files that other "
                "programs were using at the time, such as the engine of a model beside it, are not charged"
            )
        return f"{self.what}. {'; '.join(parts)}. Not the speed of any other processor."


@dataclass(frozen=True, slots=True)
class Granted:
    """A profile as this machine imposes it.

    Attributes:
        profile: The row.
        limits: Of every measured process.
        version: Of the control groups; None where none is needed.
        threads: Threads that can run all the time under the limits.
    """

    profile: Profile
    limits: Limits
    version: int | None
    threads: int


def load_profiles(extra: Path | None = None) -> Mapping[str, Profile]:
    """Return the table by name.

    Args:
        extra: YAML file with further profiles; a row of it may be ``like`` another one.

    Raises:
        BenchError: The file cannot be read, or a row is wrong or has a name that is taken.
    """
    table = _read_rows(TABLE, {})
    if extra is not None:
        table = table | _read_rows(extra, table)
    return MappingProxyType(table)


def find_profile(name: str, extra: Path | None = None) -> Profile:
    """Return the profile of a name.

    Raises:
        BenchError: There is none.
    """
    profiles = load_profiles(extra)
    if name not in profiles:
        raise BenchError(f"profile `{name}` is unknown", hint=suggestion(name, profiles))
    return profiles[name]


def grant(profile: Profile) -> Granted:
    """Find out whether this machine can impose a profile, by doing it once on nothing.

    Raises:
        BenchError: It has fewer cores, grants us less than the profile, or lends no control group; the hint says what
            to do.
    """
    _refuse_tighter(profile)
    own = affinity()
    if profile.cores is not None and profile.cores > len(own):
        raise BenchError(
            f"profile `{profile.name}` needs {profile.cores} cores, this process may use {len(own)}",
            hint="measure on a machine with as many, or choose a smaller profile",
        )
    cpus = None if profile.cores is None else tuple(sorted(distinct_cores(own)[: profile.cores]))
    limits = Limits(cpus=cpus, quota=profile.quota, memory_bytes=profile.memory_bytes)
    version = check(limits)
    threads = min(available_cpus(), profile.cores or len(own))
    if profile.quota is not None:
        threads = max(1, min(threads, int(profile.quota)))
    return Granted(profile, limits, version, threads)


def _refuse_tighter(profile: Profile) -> None:
    """Refuse a profile whose limits are wider than our own: ours would be measured under its name."""
    own = read_limits()
    hint = "choose a smaller profile, or give hrkd more"
    if profile.quota is not None and own.cpus is not None and own.cpus < profile.quota:
        raise BenchError(
            f"profile `{profile.name}` is {profile.quota:g} of a core's time, and hrkd itself gets {own.cpus:g}",
            hint=hint,
        )
    if profile.memory_bytes is not None and own.memory_bytes is not None and own.memory_bytes < profile.memory_bytes:
        wanted, granted = (f"{size / 1e6:g} MB" for size in (profile.memory_bytes, own.memory_bytes))
        raise BenchError(f"profile `{profile.name}` is {wanted}, and hrkd itself gets {granted}", hint=hint)


def _read_rows(path: Path, known: Mapping[str, Profile]) -> dict[str, Profile]:
    try:
        value = read_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BenchError(f"profiles `{path}` cannot be read: {error.strerror}", hint=DOCS) from error
    except ValueError as error:
        raise BenchError(f"profiles `{path}` are not valid YAML: {error}") from error
    if not isinstance(value, dict) or not all(isinstance(row, dict) for row in value.values()):
        raise BenchError(f"profiles `{path}` hold no `name: {{...}}` mapping", hint=DOCS)
    rows: dict[str, Profile] = {}
    for key, row in value.items():
        name = str(key)
        if name in known or not _NAME.fullmatch(name):
            problem = "is taken" if name in known else "has other characters than letters, digits, `.`, `_`, `-`"
            raise BenchError(f"profiles `{path}`: the name `{name[:60]}` {problem}", hint="choose another name")
        rows[name] = _parse_row(f"profiles `{path}`: `{name}`", name, row, {**known, **rows})
    return rows


def _parse_row(where: str, name: str, row: Mapping[str, Any], known: Mapping[str, Profile]) -> Profile:
    """Return a checked row; limits that it does not name come from the row that it is ``like``."""
    keys = ("like", "what", "cores", "quota", "memory")
    unknown = next((key for key in row if key not in keys), None)
    if unknown is not None:
        raise BenchError(f"{where}: unknown key `{unknown}`", hint=suggestion(str(unknown), keys))
    parent = row.get("like")
    if not isinstance(parent, str | None):
        raise BenchError(f"{where}: `like` is {parent!r:.40}, not the name of a profile", hint=DOCS)
    if parent is not None and parent not in known:
        raise BenchError(f"{where}: there is no profile `{parent}` to be like", hint=suggestion(parent, known))
    base = known[parent] if parent is not None else Profile(name, "")
    profile = Profile(
        name=name,
        what=_text(where, row.get("what", base.what)),
        cores=_number(where, "cores", row["cores"], (int,), 1) if "cores" in row else base.cores,
        quota=_number(where, "quota", row["quota"], (int, float), _SMALLEST_QUOTA) if "quota" in row else base.quota,
        memory_bytes=_memory(where, row["memory"]) if "memory" in row else base.memory_bytes,
    )
    if (profile.cores, profile.quota, profile.memory_bytes) == (None, None, None):
        raise BenchError(f"{where}: limits nothing", hint="name `cores`, `quota` or `memory`")
    return profile


def _text(where: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise BenchError(f"{where}: `what` is missing or no text", hint="say in one line what the profile is")
    return value.strip().rstrip(".")


def _number(where: str, key: str, value: Any, kinds: Sequence[type], least: float) -> Any:
    if type(value) not in kinds or not least <= value < 10**6:
        kind = "a whole number" if int in kinds and len(kinds) == 1 else "a number"
        raise BenchError(f"{where}: `{key}` is {value!r:.40}, not {kind} of at least {least:g}", hint=DOCS)
    return value


def _memory(where: str, value: Any) -> int:
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or match[2].upper() not in _UNITS:
        raise BenchError(f"{where}: `memory` is {value!r:.40}, not a size such as 256MB or 1GiB", hint=DOCS)
    size = int(float(match[1]) * _UNITS[match[2].upper()])
    if size < _SMALLEST_MEMORY:
        raise BenchError(
            f"{where}: `memory` is {value}; nothing runs in less than {_SMALLEST_MEMORY / 1e6:g} MB", hint=DOCS
        )
    return size

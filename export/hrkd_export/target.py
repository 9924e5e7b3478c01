"""What a bundle is made for: a table of targets, and which of them this machine is.

x86 cores without VNNI multiply unsigned by signed bytes with an instruction (VPMADDUBSW) whose 16-bit sums saturate,
which silently corrupts logits; weights of 7 bits cannot reach the limit. Cores with VNNI and Arm cores accumulate in
32 bits and take the full range.
"""

from __future__ import annotations

import platform
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from hrkd.data.suggest import suggestion
from hrkd.engines.providers import CPU, Provider
from hrkd.errors import ExportError
from hrkd.recipe import Quantization
from hrkd.recipe_file import read_yaml

TABLE = Path(__file__).with_name("targets.yaml")
AUTO = "auto"
RESERVED = frozenset({AUTO, "any"})
"""Names that mean something else: what this machine is, and the target of an fp32 bundle."""


class Target(BaseModel):
    """A row of the table.

    Attributes:
        name: What people type, and what the manifest says.
        what: One line for people.
        machines: Machine names, lower case as `platform.machine` gives them, that ``auto`` may take for this target.
        flags: Processor flags, as Linux names them, of which one must be there too; any processor if empty.
        reduce_range: Whether weights use 7 bits instead of 8.
        per_channel: Whether each output channel of a weight matrix has a scale of its own.
        quantizations: What is worth trying, the first one the default.
        providers: Execution providers of onnxruntime, in order of preference.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")]
    what: Annotated[str, Field(min_length=1)]
    machines: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    reduce_range: bool = False
    per_channel: bool = True
    quantizations: Annotated[tuple[Quantization, ...], Field(min_length=1)]
    providers: Annotated[tuple[Provider, ...], Field(min_length=1)] = (CPU,)

    @field_validator("quantizations")
    @classmethod
    def _no_choice_within_a_choice(cls, value: tuple[Quantization, ...]) -> tuple[Quantization, ...]:
        if Quantization.AUTO in value:
            raise ValueError("`auto` is no quantisation of its own; list the ones to try")
        return value


def load_targets(extra: Path | None = None) -> Mapping[str, Target]:
    """Return the table by name, in the order in which ``auto`` tries it.

    Args:
        extra: YAML file with further targets, which are tried before the table's own.

    Raises:
        ExportError: The file cannot be read, or a row is wrong or has a name that is taken.
    """
    table = _read_rows(TABLE, {})
    if extra is not None:
        table = {**_read_rows(extra, table), **table}
    return MappingProxyType(table)


def resolve_target(name: str, extra: Path | None = None) -> Target:
    """Return the target of a name, with ``auto`` replaced by what this machine is.

    Raises:
        ExportError: The name is unknown, or ``auto`` finds no target for this machine.
    """
    targets = load_targets(extra)
    if name == AUTO:
        return detect_target(platform.machine(), read_cpu_flags(), targets)
    if name not in targets:
        raise ExportError(f"target `{name}` is unknown", hint=suggestion(name, [AUTO, *targets]))
    return targets[name]


def detect_target(machine: str, flags: Collection[str], targets: Mapping[str, Target]) -> Target:
    """Choose the target for a processor.

    Args:
        machine: Machine name as `platform.machine` gives it.
        flags: Processor flags as Linux names them; empty where unknown, which yields the most careful target.
        targets: The table, most specific rows first.

    Raises:
        ExportError: No row fits.
    """
    for target in targets.values():
        if machine.lower() in target.machines and (not target.flags or set(target.flags) & set(flags)):
            return target
    raise ExportError(
        f"no target is known for this machine's processor (`{machine}`)",
        hint=f"name the processor of the device with --target; {suggestion('', targets)}",
    )


def read_cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Return the flags of the first processor; empty where the system has no such file."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in {"flags", "Features"}:
            return frozenset(value.split())
    return frozenset()


def _read_rows(path: Path, known: Mapping[str, Target]) -> dict[str, Target]:
    try:
        value = read_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ExportError(f"targets `{path}` cannot be read: {error.strerror}", hint="see docs/targets.md") from error
    except ValueError as error:
        raise ExportError(f"targets `{path}` are not valid YAML: {error}") from error
    if not isinstance(value, dict) or not all(isinstance(row, dict) for row in value.values()):
        raise ExportError(f"targets `{path}` hold no `name: {{...}}` mapping", hint="see docs/targets.md")
    rows: dict[str, Target] = {}
    for name, row in value.items():
        if name in RESERVED or name in known:
            raise ExportError(f"targets `{path}`: the name `{name}` is taken", hint="choose another name")
        rows[name] = _parse_row(path, str(name), row, {**known, **rows})
    return rows


def _parse_row(path: Path, name: str, row: Mapping[str, Any], known: Mapping[str, Target]) -> Target:
    """Return a checked row; what it does not say comes from the row that it is ``like``, except how it is recognised.

    Machines and flags are left out, because a variant that inherited them would take the other's place in ``auto``.
    """
    where = f"targets `{path}`: `{name}`"
    own = {key: item for key, item in row.items() if key != "like"}
    parent = row.get("like")
    if parent is not None and parent not in known:
        raise ExportError(f"{where}: there is no target `{parent}` to be like", hint=suggestion(str(parent), known))
    inherited = known[parent].model_dump(exclude={"name", "machines", "flags"}) if parent else {}
    try:
        return Target.model_validate({**inherited, **own, "name": name})
    except ValidationError as error:
        problem = error.errors()[0]
        key = str(problem["loc"][0])
        if problem["type"] == "extra_forbidden":
            hint = suggestion(key, ["like", *(field for field in Target.model_fields if field != "name")])
            raise ExportError(f"{where}: unknown key `{key}`", hint=hint) from error
        raise ExportError(f"{where}: `{key}`: {problem['msg']}", hint="see docs/targets.md") from error

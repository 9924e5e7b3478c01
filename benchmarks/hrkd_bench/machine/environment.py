"""The machine on which numbers were measured, so that a reader can judge what they say about another one."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from hrkd_bench.machine.facts import read_machine


class Environment(BaseModel):
    """What was read from the machine when the measurement began; None where the system does not say.

    Attributes:
        affinity_cpus: CPUs that the process may run on.
        cpu_quota: CPU time per wall-clock time that the control group grants.
        available_cpus: Threads that can run all the time, after affinity and quota.
        frequency_mhz: Clock of CPU 0 at the start.
        load_average: Over one minute, at the start.
    """

    model_config = ConfigDict(frozen=True)

    timestamp: str
    cpu: str
    architecture: str
    cpu_features: list[str]
    logical_cpus: int
    affinity_cpus: int
    cpu_quota: float | None
    available_cpus: int
    memory_bytes: int
    memory_limit_bytes: int | None
    governor: str | None
    frequency_mhz: float | None
    maximum_frequency_mhz: float | None
    load_average: float | None
    operating_system: str
    kernel: str
    python: str
    versions: dict[str, str]


def describe_environment() -> Environment:
    """Read this machine's description; see :func:`hrkd_bench.machine.facts.read_machine`."""
    return Environment.model_validate(read_machine())

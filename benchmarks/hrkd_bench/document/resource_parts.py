"""Parts of `bench.json` that say what an answer costs, under which limits it was given, and how good that is."""

from __future__ import annotations

from dataclasses import asdict
from typing import Literal

from hrkd_bench.document.parts import Part
from hrkd_bench.measurement.resources import Resources


class MemoryReport(Part):
    """Bytes of one process; None where the system does not say.

    Attributes:
        rss_bytes: All pages in memory.
        pss_bytes: Likewise, with shared pages divided among those that share them: depends on what else ran.
        uss_bytes: Pages that no other process maps.
        file_bytes: Pages of files, such as programs and libraries.
    """

    rss_bytes: int | None
    pss_bytes: int | None
    uss_bytes: int | None
    file_bytes: int | None


class EnergyReport(Part):
    """Joules, read from a meter; ``covers`` says what it measured beside the model."""

    meter: str
    covers: str
    texts: int
    joules_per_text: float
    joules_per_text_above_idle: float
    idle_watts: float


class ResourceReport(Part):
    """What one subject's process used, outside everything that was timed.

    Attributes:
        memory: After it had answered everything.
        interpreter: The same of an interpreter that imported numpy alone.
        above_interpreter_bytes: Resident memory beyond that interpreter's.
        cpu_seconds_per_1000_texts: Processor time of all threads.
        cores_used: Processor time over wall-clock time.
        texts: Texts over which both were taken.
        energy: None without a meter.
        no_energy_because: Why there is none.
    """

    memory: MemoryReport
    interpreter: MemoryReport
    above_interpreter_bytes: int | None
    cpu_seconds_per_1000_texts: float
    cores_used: float
    texts: int
    energy: EnergyReport | None
    no_energy_because: str


class MemoryLimitReport(Part):
    """The smallest memory limit under which a fresh process loads the model and gives the same answers.

    Attributes:
        method: How the limit was set; None where it could not be, with the reason in ``words``.
        limit_bytes: The smallest limit that was passed.
        resolution_bytes: A limit smaller by this much failed.
        texts: Texts whose answers had to be the same.
        file_bytes: Pages of files that the process had in memory at that limit. Those that other programs were using
            at the time are not charged to it, so where nothing else runs it needs up to this much more.
        words: What the number means.
    """

    method: Literal["cgroup-v2", "cgroup-v1", "rlimit-data"] | None
    limit_bytes: int | None
    resolution_bytes: int | None
    texts: int
    file_bytes: int | None
    words: str


class RooflineReport(Part):
    """Rates of a 512 x 512 x 512 product on one thread, measured on the device right then.

    Attributes:
        fp32_per_s: Floating-point operations per second, 2 per multiplication and addition.
        int8_per_s: Likewise in integers (unsigned activations, signed weights).
    """

    fp32_per_s: float
    int8_per_s: float


class RooflineShare(Part):
    """How near a model comes to the product's rate.

    Attributes:
        tokens: Length of the texts.
        operations: What an answer of this length needs.
        share: Operations per second of the median end-to-end answer, over the rate times the threads.
        roof: Which of the rates.
    """

    tokens: int
    operations: float
    share: float
    roof: Literal["fp32", "int8"]


class ProfileReport(Part):
    """The limits under which every process ran that was measured on this machine.

    Those of the search for the smallest memory limit had the tried one instead of ``memory_bytes``.

    Attributes:
        name: Of the profile.
        label: What it is and what it is not, for readers.
        cpus: Numbers of the CPUs that the processes could run on; None: all of ours.
        quota: CPU time per wall-clock time.
        memory_bytes: Memory of each process, without swap.
        method: How quota and memory were limited; None where they were not.
        threads: What was measured with, after affinity and quota.
    """

    name: str
    label: str
    cpus: list[int] | None
    quota: float | None
    memory_bytes: int | None
    method: Literal["cgroup-v2", "cgroup-v1"] | None
    threads: int


def report_resources(resources: Resources) -> ResourceReport:
    """Turn what was measured into its part of the document."""
    own, base = resources.memory.rss_bytes, resources.interpreter.rss_bytes
    values = asdict(resources)
    return ResourceReport.model_validate(
        values | {"above_interpreter_bytes": None if own is None or base is None else own - base}
    )

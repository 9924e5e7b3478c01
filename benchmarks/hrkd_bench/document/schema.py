"""The shape of `bench.json`: what others may rely on. Written by `bench`, read by the tables and the report.

Keys are only ever added within one schema version; a reader ignores those that it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError

from hrkd.errors import ArtifactError
from hrkd_bench.document.parts import (
    Accuracy,
    BrowserFacts,
    ColdStartReport,
    DomainComparison,
    Estimate,
    Latency,
    LengthFit,
    LengthLatency,
    OpenLoop,
    Part,
    Percentiles,
    RawSamples,
    Sustained,
    Texts,
    Verdict,
)
from hrkd_bench.document.resource_parts import (
    MemoryLimitReport,
    ProfileReport,
    ResourceReport,
    RooflineReport,
    RooflineShare,
)
from hrkd_bench.machine.environment import Environment

__all__ = [
    "Accuracy",
    "BenchDocument",
    "ColdStartReport",
    "Comparison",
    "DeviceProtocol",
    "DomainComparison",
    "Estimate",
    "Latency",
    "LengthFit",
    "LengthLatency",
    "MeasuredEnvironment",
    "OpenLoop",
    "Percentiles",
    "RawSamples",
    "Result",
    "SCHEMA_VERSION",
    "Sustained",
    "Texts",
    "Verdict",
    "read_document",
]

SCHEMA_VERSION: Literal[1] = 1


class Result(Part):
    """Everything measured about one subject.

    Attributes:
        samples_ms: End-to-end time of each text in the file's order; the median where it was answered several times.
        samples: Every single answer.
        by_length: Latency at fixed lengths, shortest first.
        length_fit: The curve through them; None where there are fewer than three lengths.
        agreement_with_fp32: Share of texts on which it answers as its own model before quantising, where that was
            measured as well.
        fp32_reference: Name of that model's result.
        resources: Memory, processor time and energy.
        device: Where it was measured; None on the machine of the document's ``environment``.
        memory_limit: The smallest one under which it works, where that was looked for.
        roofline: How near it comes to what the processor can compute, by length, where that was measured.
    """

    name: str
    role: Literal["teacher", "student"]
    engine: str
    precision: str
    is_baseline: bool
    size_bytes: int
    threads: int
    latency_ms: Latency
    cold_start_ms: float
    cold_start: ColdStartReport
    peak_rss_bytes: int | None
    throughput_per_s: float
    accuracy: Accuracy
    agreement_with_teacher: float
    valid: bool
    invalid_reasons: list[str]
    model_sha256: str
    samples_ms: list[float]
    samples: RawSamples | None = None
    by_length: tuple[LengthLatency, ...] = ()
    length_fit: LengthFit | None = None
    open_loop: OpenLoop | None = None
    sustained: Sustained | None = None
    agreement_with_fp32: float | None = None
    fp32_reference: str | None = None
    resources: ResourceReport | None = None
    device: str | None = None
    memory_limit: MemoryLimitReport | None = None
    roofline: tuple[RooflineShare, ...] = ()


class Comparison(Part):
    """A subject against a baseline, on the same texts.

    Attributes:
        size_ratio: How many times smaller the subject is.
        speedup_p50: How many times faster it answers a text, end to end: the median over texts, each against itself in
            the same round, and the geometric mean over rounds, each with fresh processes. The interval is Student's
            over the rounds, and over texts alone where there was one.
        speedup_rounds: The ratio of each round.
        verdict: FASTER or SLOWER where the whole interval lies beyond ``smallest_difference``; None after one round,
            which does not say how much rounds differ.
        smallest_difference: Share of the latency that was taken to matter.
        accuracy_difference: Subject's average accuracy minus the baseline's.
        retained_accuracy: Subject's average accuracy over the baseline's; None when that is 0.
        agreement: Share of texts on which both answer the same.
        p_value: McNemar's exact test over all texts.
        domains: Each domain, the one that lost most first.
    """

    subject: str
    baseline: str
    size_ratio: float
    speedup_p50: Estimate
    speedup_rounds: tuple[float, ...] = ()
    verdict: Verdict | None = None
    smallest_difference: float | None = None
    accuracy_difference: Estimate
    retained_accuracy: float | None
    agreement: float
    p_value: float | None = None
    domains: tuple[DomainComparison, ...] = ()


class MeasuredEnvironment(Environment):
    """The machine, and what disturbed the measurement on it.

    Attributes:
        steal_fraction: Share of the busy time that went to other virtual machines.
        throttled_periods: Scheduling periods that a CPU quota cut short, around all of us or of the measured processes.
        foreign_share: Share of the CPUs' time that other programs took.
        frequency_before_mhz: Clock before the first process was started, mean over the CPUs that we may use.
        frequency_after_mhz: Likewise after the last one had ended.
        temperature_before_c: Hottest sensor of the processor.
        temperature_after_c: Likewise.
        board_throttling: A Raspberry Pi's `vcgencmd get_throttled` at the end, with what held at the end of any round.
        notes: What a reader should know although the run counts.
    """

    steal_fraction: float | None
    throttled_periods: int | None
    foreign_share: float | None = None
    frequency_before_mhz: float | None = None
    frequency_after_mhz: float | None = None
    temperature_before_c: float | None = None
    temperature_after_c: float | None = None
    board_throttling: int | None = None
    notes: list[str]


class DeviceProtocol(Part):
    """How the results of a device were taken, where they stand beside this machine's.

    Attributes:
        config: What :attr:`BenchDocument.config` is for this machine.
        profile: Likewise; None where nothing was limited.
        roofline: Likewise; None where it was not measured.
    """

    config: dict[str, Any]
    profile: ProfileReport | None
    roofline: RooflineReport | None


class BenchDocument(Part):
    """The whole of `bench.json`.

    Attributes:
        chain: Each step from the teacher to what is shipped, against the step before it.
        environments: The machine behind each ``Result.device``.
        protocols: How each of them measured; ``config``, ``profile`` and ``roofline`` are this machine's.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    command: list[str]
    config: dict[str, Any]
    environment: MeasuredEnvironment
    texts: Texts
    results: list[Result]
    comparisons: list[Comparison]
    chain: tuple[Comparison, ...] = ()
    browser: BrowserFacts | None = None
    profile: ProfileReport | None = None
    roofline: RooflineReport | None = None
    environments: dict[str, MeasuredEnvironment] = Field(default_factory=dict)
    protocols: dict[str, DeviceProtocol] = Field(default_factory=dict)

    def result(self, name: str) -> Result:
        """Return the result of that name."""
        return next(result for result in self.results if result.name == name)

    def worst_first(self) -> list[str]:
        """Return the domains, those first in which the last result, which is what is shipped, is least accurate."""
        shipped = self.results[-1].accuracy.domains
        return sorted(self.texts.domains, key=lambda domain: shipped[domain])


def read_document(value: Mapping[str, Any]) -> BenchDocument:
    """Check a loaded `bench.json`.

    Raises:
        ArtifactError: It is of another schema, or damaged.
    """
    version = value.get("schema_version")
    if version != SCHEMA_VERSION:
        raise ArtifactError(
            f"the bench document has schema version {version!r}, this hrkd reads {SCHEMA_VERSION}",
            hint="upgrade hrkd, or measure again with `hrkd bench`",
        )
    try:
        document = BenchDocument.model_validate(value)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise ArtifactError(
            f"the bench document is damaged: `{where}`: {problem['msg']}", hint="measure again with `hrkd bench`"
        ) from error
    if not document.results:
        raise ArtifactError("the bench document holds no results", hint="measure again with `hrkd bench`")
    _check_names(document)
    return document


def _check_names(document: BenchDocument) -> None:
    """Refuse comparisons of what is not there."""
    known = {result.name for result in document.results}
    for comparison in (*document.comparisons, *document.chain):
        for name in (comparison.subject, comparison.baseline):
            if name not in known:
                raise ArtifactError(
                    f"the bench document compares `{name}`, which it does not hold",
                    hint="measure again with `hrkd bench`",
                )

"""The shape of `bench.json`: what others may rely on. Written by `bench`, read by the tables and the report.

Keys are only ever added within one schema version; a reader ignores those that it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from hrkd.errors import ArtifactError
from hrkd_bench.environment import Environment

SCHEMA_VERSION: Literal[1] = 1


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Percentiles(_Part):
    """Milliseconds; None where ``n`` is too small for the percentile."""

    p50: float
    p90: float | None
    p95: float | None
    p99: float | None
    mean: float
    max: float
    n: int


class Latency(_Part):
    """One text at a time, on its own length, without padding."""

    end_to_end: Percentiles
    tokenize: Percentiles
    run: Percentiles


class ColdStartReport(_Part):
    """Fresh processes: medians of the parts, and every total."""

    import_ms: float
    load_ms: float
    first_ms: float
    samples_ms: list[float]


class Accuracy(_Part):
    """Fractions of right answers; intervals are 95 %, as (low, high)."""

    average: float
    average_interval: tuple[float, float]
    worst: float
    worst_domain: str
    domains: dict[str, float]
    domain_intervals: dict[str, tuple[float, float]]
    macro_f1: float


class Result(_Part):
    """Everything measured about one subject; ``samples_ms[i]`` is the end-to-end time of the i-th text."""

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


class Estimate(_Part):
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


class Comparison(_Part):
    """A subject against a baseline, on the same texts.

    Attributes:
        size_ratio: How many times smaller the subject is.
        speedup_p50: How many times faster its median end-to-end latency is.
        accuracy_difference: Subject's average accuracy minus the baseline's.
        retained_accuracy: Subject's average accuracy over the baseline's; None when that is 0.
        agreement: Share of texts on which both answer the same.
    """

    subject: str
    baseline: str
    size_ratio: float
    speedup_p50: Estimate
    accuracy_difference: Estimate
    retained_accuracy: float | None
    agreement: float


class Texts(_Part):
    """What was measured on."""

    count: int
    domains: dict[str, int]
    tokens: dict[str, float]
    sha256: str


class MeasuredEnvironment(Environment):
    """The machine, and what disturbed the measurement on it."""

    steal_fraction: float | None
    throttled_periods: int | None
    notes: list[str]


class BenchDocument(_Part):
    """The whole of `bench.json`."""

    schema_version: Literal[1] = SCHEMA_VERSION
    command: list[str]
    config: dict[str, int | None]
    environment: MeasuredEnvironment
    texts: Texts
    results: list[Result]
    comparisons: list[Comparison]

    def result(self, name: str) -> Result:
        """Return the result of that name."""
        return next(result for result in self.results if result.name == name)


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
    return document

"""The parts of `bench.json` below a result or a comparison. Fields that came later are optional, for old documents."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Verdict = Literal["FASTER", "SLOWER", "NOT SIGNIFICANT"]


class Part(BaseModel):
    """Base of all parts: frozen; keys that a later version added are ignored."""

    model_config = ConfigDict(frozen=True)


class Estimate(Part):
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


class Percentiles(Part):
    """Milliseconds; None where ``n`` is too small for the percentile."""

    p50: float
    p90: float | None
    p95: float | None
    p99: float | None
    mean: float
    max: float
    n: int


class Latency(Part):
    """One text at a time, on its own length, without padding; ``post`` turns logits into a label and probabilities."""

    end_to_end: Percentiles
    tokenize: Percentiles
    run: Percentiles
    post: Percentiles | None = None


class RawSamples(Part):
    """Every timed answer, in the order in which they came; ``text`` counts as `Result.samples_ms` does."""

    text: list[int]
    round: list[int]
    tokenize_ms: list[float]
    run_ms: list[float]
    post_ms: list[float]
    end_to_end_ms: list[float]


class LengthLatency(Part):
    """End-to-end milliseconds of texts of exactly ``tokens`` tokens; the interval is over rounds."""

    tokens: int
    p50: Estimate
    n: int


class LengthFit(Part):
    """``overhead + per_token * S + per_token_squared * S^2`` milliseconds for S tokens, fitted to `by_length`.

    Attributes:
        overhead_ms: What remains of a text without tokens; no interval but itself where there was one round.
        per_token_ms: Work that grows with the length.
        per_token_squared_ms: Work that grows with its square: attention.
        largest_error: Largest share by which the curve misses a measured length.
    """

    overhead_ms: Estimate
    per_token_ms: float
    per_token_squared_ms: float
    largest_error: float


class OpenLoop(Part):
    """Requests that came at random times (Poisson), answered in order by one process.

    Attributes:
        offered_per_s: The rate that was asked for.
        arrived_per_s: The rate at which the drawn requests came.
        achieved_per_s: Answers per second.
        latency_ms: From when a request was due to its answer, so waiting counts.
        service_ms: The answer alone: what a closed loop would have shown.
        utilisation: Time of work for each second of requests; the queue grows without end from 1 on.
        longest_queue: Most requests that waited or were worked on when another one came.
        unanswered: Requests given up because the queue had become too long.
        saturated: Whether the rate is too much for the device; the percentiles then depend on when we stopped.
    """

    offered_per_s: float
    arrived_per_s: float
    achieved_per_s: float
    latency_ms: Percentiles
    service_ms: Percentiles
    utilisation: float
    longest_queue: int
    unanswered: int
    saturated: bool


class SustainedMinute(Part):
    """One minute of work without a pause; temperature and clock at its end, None where they cannot be read."""

    p50_ms: float
    n: int
    temperature_c: float | None
    frequency_mhz: float | None


class Sustained(Part):
    """Minutes of work without a pause.

    Attributes:
        minutes: One after the other.
        slowdown: Median time in the steady state (the last third of the minutes) over that of the first minute; None
            where there is one minute only.
        verdict: Of the steady state against the first minute.
    """

    minutes: list[SustainedMinute]
    slowdown: Estimate | None
    verdict: Verdict | None


class ColdStartReport(Part):
    """Fresh processes: medians of the parts, and every total."""

    import_ms: float
    load_ms: float
    first_ms: float
    samples_ms: list[float]


class Accuracy(Part):
    """Fractions of right answers; intervals are 95 %, as (low, high).

    Attributes:
        macro_f1: Mean over domains of the labels' mean F1.
        domain_macro_f1: The same in each domain.
        calibration_error: How far confidence and accuracy lie apart on average, in 15 ranges of confidence.
    """

    average: float
    average_interval: tuple[float, float]
    worst: float
    worst_domain: str
    domains: dict[str, float]
    domain_intervals: dict[str, tuple[float, float]]
    macro_f1: float
    domain_macro_f1: dict[str, float] | None = None
    calibration_error: float | None = None


class DomainComparison(Part):
    """A subject against a baseline on one domain's texts.

    Attributes:
        domain: Its name.
        texts: Texts of the domain.
        difference: Subject's accuracy minus the baseline's.
        gained: Texts that only the subject gets right.
        lost: Texts that only the baseline gets right.
        p_value: McNemar's exact test; of this domain alone, so among many domains a small one is expected by chance.
    """

    domain: str
    texts: int
    difference: Estimate
    gained: int
    lost: int
    p_value: float


class Texts(Part):
    """What was measured on."""

    count: int
    domains: dict[str, int]
    tokens: dict[str, float]
    sha256: str


class BrowserFacts(Part):
    """What only a browser has; milliseconds are medians over the fresh pages.

    Attributes:
        browser: Its name and version.
        runtime: What ran the graph in it.
        compared_with: The Python runtime that the answers are compared with.
        threads: Threads of one answer.
        cross_origin_isolated: Whether the page could have threads and a fine clock.
        clock_resolution_ms: Smallest step of the page's clock.
        agreement_with_python: Share of texts with the same label as in Python.
        largest_logit_difference: Largest difference of a logit from Python's, on those texts.
        downloaded_bytes: Engine, model, tokenizer and facts, uncompressed.
        download_ms: Their way from a server on this machine.
        verify_ms: Hashing them.
        compile_ms: Compiling the engine and opening the graph.
        first_ms: The first answer.
        first_answer_ms: From opening the page to the first answer.
    """

    browser: str
    runtime: str
    compared_with: str
    threads: int
    cross_origin_isolated: bool
    clock_resolution_ms: float
    agreement_with_python: float
    largest_logit_difference: float
    downloaded_bytes: int
    download_ms: float
    verify_ms: float
    compile_ms: float
    first_ms: float
    first_answer_ms: float

"""What a measurement leaves behind, before anything is claimed from it: plain arrays and numbers.

Needs numpy alone, so that a device can take the measurements and another machine can judge them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hrkd_bench.machine.disturbance import Snapshot
from hrkd_bench.measurement.resources import Resources
from hrkd_bench.subjects import Subject

Ids = NDArray[np.int64]
Milliseconds = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Samples:
    """One subject's answers: m timed ones in the order in which they came, to n chosen texts.

    Attributes:
        text: Which of the chosen texts it was, shape (m,); each comes up at least once.
        round: The round, and so the process, that gave the answer, shape (m,).
        tokenize_ms: Text to token ids, shape (m,).
        run_ms: Token ids to logits, shape (m,).
        post_ms: Logits to a label and its probability, shape (m,).
        end_to_end_ms: All of it, shape (m,).
        tokens: Tokens of each text, shape (n,).
        logits: The first answer to each text, shape (n, C).
    """

    text: Ids
    round: Ids
    tokenize_ms: Milliseconds
    run_ms: Milliseconds
    post_ms: Milliseconds
    end_to_end_ms: Milliseconds
    tokens: Ids
    logits: NDArray[np.float64]

    @property
    def text_ms(self) -> Milliseconds:
        """End-to-end time of each text, shape (n,): the median where it was answered several times."""
        return _text_medians(self.text, self.end_to_end_ms)

    def text_ms_by_round(self) -> list[Milliseconds]:
        """Return the same within each round, in ascending order of the round's texts."""
        rounds = [self.round == number for number in np.unique(self.round)]
        return [_text_medians(self.text[chosen], self.end_to_end_ms[chosen]) for chosen in rounds]


@dataclass(frozen=True, slots=True)
class ColdStart:
    """One fresh process: from its start to its first answer, and the parts that the child timed itself."""

    total_ms: float
    import_ms: float
    load_ms: float
    first_ms: float


@dataclass(frozen=True, slots=True)
class OpenLoopSamples:
    """Requests that came at their own times, in order; seconds.

    Attributes:
        rate: Requests per second that were asked for.
        arrivals: When each request was due, shape (m,).
        starts: When its work began, shape (k,), k <= m: what is missing was given up.
        ends: When its answer was there, shape (k,).
    """

    rate: float
    arrivals: NDArray[np.float64]
    starts: NDArray[np.float64]
    ends: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Minute:
    """One minute of work without a pause.

    Attributes:
        blocks_ms: Median end-to-end time of each stretch of a few seconds.
        samples: Answers in all.
        median_ms: Of all answers.
        temperature_c: At its end; None where no sensor can be read.
        frequency_mhz: Likewise, mean over the CPUs that we may use.
    """

    blocks_ms: list[float]
    samples: int
    median_ms: float
    temperature_c: float | None
    frequency_mhz: float | None


@dataclass(frozen=True, slots=True)
class Measurement:
    """Everything measured about one subject.

    Attributes:
        subject: What was measured.
        size_bytes: Bytes on disk that running needs.
        samples: The answers to the evaluation texts.
        peak_rss_bytes: Largest of its processes' peaks; None where the system does not say.
        throughput_per_s: Texts per second in batches.
        cold_starts: One per fresh process.
        lengths_ms: End-to-end times of texts of exactly so many tokens, one array per round.
        open_loop: Where a rate was asked for.
        minutes: Where sustained work was asked for.
        resources: What it used besides time.
    """

    subject: Subject
    size_bytes: int
    samples: Samples
    peak_rss_bytes: int | None
    throughput_per_s: float
    cold_starts: list[ColdStart]
    lengths_ms: Mapping[int, list[Milliseconds]] = field(default_factory=dict)
    open_loop: OpenLoopSamples | None = None
    minutes: list[Minute] | None = None
    resources: Resources | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """All measurements, and the state of the machine around them.

    Attributes:
        measurements: One of each subject, baselines first.
        before: Taken before the first process was started.
        after: Taken when all of them had ended.
        throttled_periods: Scheduling periods that the quotas of the processes' own groups cut short; None without any.
    """

    measurements: list[Measurement]
    before: Snapshot
    after: Snapshot
    throttled_periods: int | None = None


def _text_medians(text: Ids, times: Milliseconds) -> Milliseconds:
    order = np.argsort(text, kind="stable")
    starts = np.flatnonzero(np.diff(text[order], prepend=-1))
    return np.asarray([np.median(part) for part in np.split(times[order], starts[1:])])

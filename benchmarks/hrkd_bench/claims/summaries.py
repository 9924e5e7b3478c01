"""From raw times to the document's parts on fixed lengths, the open loop, and sustained work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hrkd.metrics import Interval, bootstrap_interval
from hrkd.significance import geometric_mean_interval, mean_interval
from hrkd_bench.claims.latency import percentiles
from hrkd_bench.claims.ratio import ratio_of_groups, verdict
from hrkd_bench.document.parts import (
    Estimate,
    LengthFit,
    LengthLatency,
    OpenLoop,
    Percentiles,
    Sustained,
    SustainedMinute,
)
from hrkd_bench.measurement.samples import Milliseconds, Minute, OpenLoopSamples

_FEWEST_LENGTHS = 3  # a parabola has three coefficients


def estimate(interval: Interval) -> Estimate:
    """Return an interval as it stands in the document."""
    return Estimate(value=interval.value, low=interval.low, high=interval.high)


def length_latencies(lengths_ms: Mapping[int, Sequence[Milliseconds]]) -> list[LengthLatency]:
    """Return the median at each length, shortest first.

    Args:
        lengths_ms: By length, the times of each round.
    """
    return [
        LengthLatency(tokens=tokens, p50=estimate(_median(rounds)), n=sum(map(len, rounds)))
        for tokens, rounds in sorted(lengths_ms.items())
    ]


def length_fit(lengths_ms: Mapping[int, Sequence[Milliseconds]]) -> LengthFit | None:
    """Fit ``a + b S + c S^2`` to each round's medians by least squares of relative errors; None below three lengths."""
    if len(lengths_ms) < _FEWEST_LENGTHS:
        return None
    tokens = np.asarray(sorted(lengths_ms), dtype=np.float64)
    medians = np.asarray([[np.median(times) for times in lengths_ms[int(length)]] for length in tokens])
    powers = np.vander(tokens, 3, increasing=True)
    fits = np.asarray([np.linalg.lstsq(powers / row[:, None], np.ones(len(row)), rcond=None)[0] for row in medians.T])
    overhead, linear, quadratic = fits.mean(axis=0)
    typical = np.exp(np.log(medians).mean(axis=1))
    errors = np.abs(powers @ fits.mean(axis=0) / typical - 1)
    interval = mean_interval(fits[:, 0]) if len(fits) > 1 else Interval(overhead, overhead, overhead)
    return LengthFit(
        overhead_ms=estimate(interval),
        per_token_ms=float(linear),
        per_token_squared_ms=float(quadratic),
        largest_error=float(errors.max()),
    )


def open_loop(samples: OpenLoopSamples) -> OpenLoop:
    """Say what requests saw that came at their own times.

    The device is called saturated when the work that came in took longer than the time in which it came, or when we
    gave up: then the queue grows without end.
    """
    answered = len(samples.ends)
    due = samples.arrivals[:answered]
    span = float(samples.arrivals[-1])
    service = samples.ends - samples.starts
    utilisation = float(np.mean(service)) * len(samples.arrivals) / span
    queued = np.arange(answered) - np.searchsorted(samples.ends, due, side="right")
    return OpenLoop(
        offered_per_s=samples.rate,
        arrived_per_s=round(len(samples.arrivals) / span, 3),
        achieved_per_s=round(answered / float(samples.ends[-1]), 3),
        latency_ms=Percentiles.model_validate(percentiles(1000 * (samples.ends - due))),
        service_ms=Percentiles.model_validate(percentiles(1000 * service)),
        utilisation=round(utilisation, 4),
        longest_queue=int(queued.max()),
        unanswered=len(samples.arrivals) - answered,
        saturated=utilisation >= 1.0 or answered < len(samples.arrivals),
    )


def sustained(minutes: Sequence[Minute], smallest_difference: float) -> Sustained:
    """Compare the steady state, the last third of the minutes, with the first minute.

    Args:
        minutes: At least one.
        smallest_difference: Share of the latency that matters.
    """
    described = [
        SustainedMinute(
            p50_ms=round(minute.median_ms, 4),
            n=minute.samples,
            temperature_c=minute.temperature_c,
            frequency_mhz=minute.frequency_mhz,
        )
        for minute in minutes
    ]
    if len(minutes) == 1:
        return Sustained(minutes=described, slowdown=None, verdict=None)
    steady = [block for minute in minutes[-max(1, len(minutes) // 3) :] for block in minute.blocks_ms]
    slowdown = ratio_of_groups(steady, minutes[0].blocks_ms)
    speedup = Interval(1 / slowdown.value, 1 / slowdown.high, 1 / slowdown.low)
    return Sustained(minutes=described, slowdown=estimate(slowdown), verdict=verdict(speedup, smallest_difference))


def _median(rounds: Sequence[Milliseconds]) -> Interval:
    """Return the typical median of a round with its interval over rounds, over the texts where there is one round."""
    if len(rounds) > 1:
        return geometric_mean_interval([np.median(times) for times in rounds])
    return bootstrap_interval(rounds[0], lambda times: np.asarray(np.median(times)))

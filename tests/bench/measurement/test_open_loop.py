"""Requests that come at their own times, on a made-up clock."""

from __future__ import annotations

import numpy as np
import pytest

from hrkd_bench.claims import summaries
from hrkd_bench.measurement.open_loop import WallClock, serve
from hrkd_bench.measurement.samples import OpenLoopSamples


class FakeClock:
    """Time that passes only when somebody works or waits."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def wait_until(self, moment: float) -> None:
        self.time = max(self.time, moment)


def play(arrivals: np.ndarray, seconds: list[float], give_up_after: float = 1e9) -> OpenLoopSamples:
    """Serve requests whose work takes so many seconds each."""
    clock = FakeClock()

    def answer(number: int) -> None:
        clock.time += seconds[number]

    starts, ends = serve(arrivals.tolist(), answer, clock, give_up_after=give_up_after)
    return OpenLoopSamples(100.0, arrivals, np.asarray(starts), np.asarray(ends))


def test_a_stall_is_seen_by_the_open_loop_and_hidden_by_the_closed_one() -> None:
    """Prevents coordinated omission: one stall of a second hits everybody who comes within that second."""
    arrivals = np.arange(1, 2001) * 0.01
    seconds = [1.0 if number == 500 else 0.001 for number in range(2000)]
    summary = summaries.open_loop(play(arrivals, seconds))
    assert summary.service_ms.p99 == pytest.approx(1.0)  # what a closed loop would show
    assert summary.latency_ms.p50 == pytest.approx(1.0)
    assert summary.latency_ms.p99 is not None
    assert summary.latency_ms.p99 > 700
    assert summary.latency_ms.max == pytest.approx(1000.0)
    late = sum(ends - due > 0.0015 for ends, due in zip(play(arrivals, seconds).ends, arrivals))
    assert 100 <= late <= 115
    assert summary.longest_queue in range(98, 102)
    assert summary.saturated is False
    assert summary.utilisation == pytest.approx(3.0 / 20.0, rel=0.02)


def test_a_rate_beyond_the_device_is_called_saturated() -> None:
    """Prevents percentiles of a growing queue from being read as the service's latency."""
    arrivals = np.arange(1, 301) * 0.01
    summary = summaries.open_loop(play(arrivals, [0.02] * 300))
    assert summary.saturated is True
    assert summary.utilisation == pytest.approx(2.0)
    assert summary.achieved_per_s == pytest.approx(50.0, rel=0.01)
    assert summary.arrived_per_s == pytest.approx(100.0)
    assert summary.longest_queue > 100


def test_a_hopeless_loop_is_given_up() -> None:
    """Prevents ten minutes of waiting for a queue of an hour, and answers that were never given from being counted."""
    arrivals = np.arange(1, 301) * 0.01
    samples = play(arrivals, [1.0] * 300, give_up_after=6.0)
    assert len(samples.ends) == len(samples.starts) == 6
    summary = summaries.open_loop(samples)
    assert summary.unanswered == 294
    assert summary.saturated is True
    assert summary.latency_ms.n == 6


def test_no_request_is_answered_before_it_is_due() -> None:
    """Prevents an open loop that is a closed one: it would show the service's time as latency at any rate."""
    arrivals = np.asarray([0.5, 0.5, 3.0])
    samples = play(arrivals, [0.1, 0.1, 0.1])
    assert samples.starts.tolist() == pytest.approx([0.5, 0.6, 3.0])
    assert samples.ends.tolist() == pytest.approx([0.6, 0.7, 3.1])


def test_the_real_clock_waits() -> None:
    """Prevents requests that are sent early because a sleep was cut short."""
    clock = WallClock()
    begin = clock.now()
    clock.wait_until(begin + 0.01)
    assert clock.now() >= begin + 0.01
    clock.wait_until(begin - 5)

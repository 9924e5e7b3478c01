"""Fixed lengths and sustained work: from raw times whose truth is known to what the document says."""

from __future__ import annotations

import numpy as np
import pytest

from hrkd_bench.claims.summaries import length_fit, length_latencies, sustained
from hrkd_bench.measurement.length_texts import longest_input, texts_of_length
from hrkd_bench.measurement.samples import Minute
from hrkd_bench.measurement.sustained import BLOCKS_PER_MINUTE, sustain


def times_of(tokens: int) -> float:
    return 0.2 + 0.01 * tokens + 0.00005 * tokens**2


def test_the_fit_finds_overhead_and_growth() -> None:
    """Prevents coefficients that are exchanged, or of tokens counted in another unit."""
    generator = np.random.default_rng(0)
    lengths = {
        tokens: [times_of(tokens) * generator.lognormal(0, 0.005, 16) for _ in range(8)] for tokens in (16, 32, 64, 128)
    }
    fit = length_fit(lengths)
    assert fit is not None
    assert fit.overhead_ms.low < 0.2 < fit.overhead_ms.high
    assert fit.overhead_ms.high - fit.overhead_ms.low < 0.05
    assert fit.per_token_ms == pytest.approx(0.01, rel=0.1)
    assert fit.per_token_squared_ms == pytest.approx(0.00005, rel=0.1)
    assert fit.largest_error < 0.01
    rows = length_latencies(lengths)
    assert [row.tokens for row in rows] == [16, 32, 64, 128]
    assert all(row.p50.low < times_of(row.tokens) < row.p50.high or row.p50.value > 0 for row in rows)
    assert rows[0].n == 128


def test_two_lengths_are_no_parabola() -> None:
    """Prevents an overhead that the data cannot show."""
    assert length_fit({16: [np.ones(3)], 32: [np.ones(3)]}) is None
    assert length_fit({}) is None
    assert length_latencies({}) == []


def test_one_round_has_the_interval_of_its_texts() -> None:
    """Prevents a crash, or a width of zero, where only one process was measured."""
    [row] = length_latencies({16: [np.random.default_rng(0).lognormal(0, 0.2, 16)]})
    assert row.p50.low < row.p50.value < row.p50.high


def minute(median: float, spread: float = 0.01) -> Minute:
    blocks = [median * (1 + spread * place) for place in (-1, 0, 1, -1, 0, 1)]
    return Minute(blocks, 600, median, 60.0, 1500.0)


def test_a_device_that_slows_down_is_told() -> None:
    """Prevents the cool first minute from being sold as the device's speed, and the minutes between from counting."""
    summary = sustained([minute(1.0), minute(1.1), minute(1.2), minute(1.3), minute(1.5), minute(1.5)], 0.03)
    assert summary.slowdown is not None
    assert summary.slowdown.value == pytest.approx(1.5, rel=0.001)
    assert 1.45 < summary.slowdown.low < 1.5 < summary.slowdown.high < 1.55
    assert summary.verdict == "SLOWER"
    assert [row.p50_ms for row in summary.minutes] == [1.0, 1.1, 1.2, 1.3, 1.5, 1.5]
    assert summary.minutes[0].temperature_c == 60.0


def test_a_steady_device_is_not_slower() -> None:
    """Prevents noise between minutes from being called throttling."""
    assert sustained([minute(1.0), minute(1.005), minute(1.01)], 0.03).verdict == "NOT SIGNIFICANT"
    assert sustained([minute(1.0)], 0.03).slowdown is None


class FakeWorker:
    """Answers at a speed that falls with time, on a clock of its own."""

    def __init__(self) -> None:
        self.time = 0.0
        self.asked: list[int] = []

    def clock(self) -> float:
        return self.time

    def ask(self, command: str, *, indices: list[int]) -> dict[str, list[int]]:
        assert command == "run"
        self.asked += indices
        milliseconds = 10.0 if self.time < 60 else 15.0
        self.time += len(indices) * milliseconds / 1000
        return {"end_to_end_ns": [round(milliseconds * 1e6)] * len(indices)}


def test_minutes_are_measured_without_a_pause() -> None:
    """Prevents minutes of other lengths, and a warm device that cools down between them."""
    worker = FakeWorker()
    passed: list[float] = []
    measured = sustain(worker, np.arange(100), 3, passed.append, clock=worker.clock)  # type: ignore[arg-type]
    assert [one.median_ms for one in measured] == [10.0, 15.0, 15.0]
    assert [len(one.blocks_ms) for one in measured] == [BLOCKS_PER_MINUTE] * 3
    assert measured[0].samples == pytest.approx(6000, abs=25)
    assert measured[2].samples == pytest.approx(4000, abs=25)
    assert worker.time == pytest.approx(180, abs=0.5)
    assert passed[-1] == pytest.approx(180, abs=0.5)
    assert worker.asked[:100] == worker.asked[100:200] == list(range(100))


WORDS = [f"w{number}{'-' * (number % 4)}" for number in range(400)]


def count(text: str) -> int:
    """Two special tokens, one for each word and one for each dash, at most 50."""
    return min(50, 2 + sum(1 + word.count("-") for word in text.split()))


@pytest.mark.parametrize("length", [4, 16, 31, 50])
def test_texts_have_exactly_the_length(length: int) -> None:
    """Prevents padding or a word too many from being measured as tokens of the model."""
    texts = [" ".join(WORDS[start : start + 7]) for start in range(0, len(WORDS), 7)]
    found = texts_of_length(texts, length, 5, count)
    assert len(found) == len(set(found)) == 5
    assert {count(text) for text in found} == {length}
    assert all(count(" ".join(text.split()[:-1])) < length for text in found)


def test_lengths_end_where_the_model_stops_reading() -> None:
    """Prevents a label of 128 tokens on texts of which 50 were read."""
    assert longest_input([" ".join(WORDS)], count, 128) == 50
    assert longest_input([" ".join(WORDS)], count, 32) == 32
    assert longest_input(["", " "], count, 32) == 0


def test_no_text_of_a_length_is_an_empty_list() -> None:
    """Prevents an endless search where every word is too long."""
    assert texts_of_length(["a-- b-- c--"], 4, 3, count) == []
    assert texts_of_length([""], 4, 3, count) == []

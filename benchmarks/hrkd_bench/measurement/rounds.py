"""The closed loop: in every round fresh processes take turns over a part of the texts.

Two processes of the same program differ in speed by where their memory happens to lie, which no number of texts
shows. So every round starts every subject anew; what is claimed about a ratio rests on how much the rounds differ.
Within a round the subjects take turns after a few texts, in an order that rotates, so that a slow second of the machine
hits all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrkd.errors import BenchError
from hrkd_bench.measurement.process import WorkerProcess
from hrkd_bench.measurement.samples import Ids, Milliseconds, Samples
from hrkd_bench.subjects import Subject

_TEXTS_PER_TURN = 50
_TEXTS_PER_REQUEST = 100  # small enough that progress moves and a hanging engine is noticed
_REWARM_TEXTS = 3  # unmeasured texts after a turn of another process has used the caches
_MOST_WARMUP_PASSES = 5
_STABLE = 0.02  # warm when two passes' medians differ by less
_LENGTH_TEXTS = 16
_NANOSECONDS = 1e-6  # in milliseconds

Done = Callable[[int], None]
"""Called with how many answers were timed just now."""


class Recorder:
    """Collects what one subject answers, round by round."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.lengths_ms: dict[int, list[Milliseconds]] = {}
        self._indices: list[Ids] = []
        self._rounds: list[int] = []
        self._answers: list[dict[str, Any]] = []

    def add(self, number: int, indices: Ids, answer: dict[str, Any]) -> None:
        """Keep the answers to the texts ``indices`` of round ``number``."""
        self._indices.append(indices)
        self._rounds.append(number)
        self._answers.append(answer)

    def add_length(self, length: int, answer: dict[str, Any]) -> None:
        """Keep the times of one round's texts of one length."""
        times = np.asarray(answer["end_to_end_ns"], dtype=np.float64) * _NANOSECONDS
        self.lengths_ms.setdefault(length, []).append(times)

    def samples(self, positions: Ids) -> Samples:
        """Return everything that was kept about the texts at ``positions``, in ascending order.

        Raises:
            BenchError: An answer is NaN or infinite.
        """
        logits = self._column("logits")
        if not np.isfinite(logits).all():
            raise BenchError(
                f"`{self.subject.path}` answers with NaN or infinity", hint="the model is broken; make it again"
            )
        text = np.searchsorted(positions, np.concatenate(self._indices))
        first = np.unique(text, return_index=True)[1]
        return Samples(
            text=text,
            round=np.repeat(self._rounds, [len(indices) for indices in self._indices]),
            tokenize_ms=self._column("tokenize_ns") * _NANOSECONDS,
            run_ms=self._column("run_ns") * _NANOSECONDS,
            post_ms=self._column("post_ns") * _NANOSECONDS,
            end_to_end_ms=self._column("end_to_end_ns") * _NANOSECONDS,
            tokens=self._column("tokens")[first].astype(np.int64),
            logits=logits[first],
        )

    def _column(self, name: str) -> NDArray[np.float64]:
        return np.asarray([value for answer in self._answers for value in answer[name]], dtype=np.float64)


def warm_up(worker: WorkerProcess, entries: Ids, least: int) -> float:
    """Repeat the same texts until the median stands still: clocks rise and libraries settle on their own schedule.

    Returns:
        Median milliseconds of one text in the last pass.
    """
    indices = np.resize(entries, least)
    previous = float("inf")
    for _ in range(_MOST_WARMUP_PASSES):
        current = float(median(run(worker, indices)["end_to_end_ns"]))
        if abs(current - previous) < _STABLE * current:
            break
        previous = current
    return current * _NANOSECONDS


def measure_texts(
    workers: Sequence[WorkerProcess],
    recorders: Sequence[Recorder],
    number: int,
    chunk: Ids,
    repeats: Sequence[int],
    done: Done,
) -> None:
    """Let the workers take turns over one round's texts, each as often as its number of repeats says.

    They go over the texts together as often as the least repeats allow, so that turns stay short: what is measured in
    long turns is measured far apart.
    """
    parts = np.array_split(chunk, max(1, len(chunk) // _TEXTS_PER_TURN))
    passes = min(repeats)
    for turn, (number_of_pass, part) in enumerate(product(range(passes), parts)):
        for place in range(len(workers)):
            which = (place + turn + number) % len(workers)
            before, after = (repeats[which] * end // passes for end in (number_of_pass, number_of_pass + 1))
            entries = np.tile(part, after - before)
            run(workers[which], part[:_REWARM_TEXTS])
            for start in range(0, len(entries), _TEXTS_PER_REQUEST):
                request = entries[start : start + _TEXTS_PER_REQUEST]
                recorders[which].add(number, request, run(workers[which], request))
            done(len(entries))


def measure_lengths(
    workers: Sequence[WorkerProcess], recorders: Sequence[Recorder], number: int, lengths: Sequence[int]
) -> None:
    """Let the workers take turns over texts of fixed lengths; the first pass of each warms up."""
    if not lengths:
        return
    known = [worker.ask("cut", lengths=list(lengths), number=_LENGTH_TEXTS)["lengths"] for worker in workers]
    for turn, length in enumerate(sorted({length for those in known for length in those})):
        for place in range(len(workers)):
            which = (place + turn + number) % len(workers)
            if length in known[which]:
                workers[which].ask("run_length", length=length)
                recorders[which].add_length(length, workers[which].ask("run_length", length=length))


def run(worker: WorkerProcess, indices: Ids) -> dict[str, Any]:
    """Measure texts one at a time."""
    return worker.ask("run", indices=indices.tolist())

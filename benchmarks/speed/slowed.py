"""An engine that is slower by a known share: `speed.repeatability` checks the verdicts with it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from hrkd.engines import Logits
from hrkd_bench.runtime import Classifier

ENGINE = "slowed"
SHARE = 0.10
"""Share of the time of each call that is waited after it."""


class SlowedClassifier(Classifier):
    """The runtime, but every call takes a tenth longer. It waits busily: a sleep would let the clock fall."""

    def tokenize(self, text: str, text_pair: str | None = None) -> list[int]:
        """Return the token ids, a little later."""
        start = time.perf_counter_ns()
        ids = super().tokenize(text, text_pair)
        _wait(start)
        return ids

    def run(self, encoded: Sequence[int], domain_id: int) -> Logits:
        """Return the logits, a little later."""
        start = time.perf_counter_ns()
        logits = super().run(encoded, domain_id)
        _wait(start)
        return logits


def _wait(start: int) -> None:
    end = time.perf_counter_ns()
    until = end + round(SHARE * (end - start))
    while time.perf_counter_ns() < until:
        pass

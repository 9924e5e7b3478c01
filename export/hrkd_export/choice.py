"""Which of several measured bundles is shipped, and why the others are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hrkd.bundle import Manifest
from hrkd.pareto import SAME_SIZE, SAME_SPEED, Costs, on_front


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way of quantising, tried on this target.

    Attributes:
        name: Of the way, as in the recipe; ``fp32`` for none.
        manifest: Of its bundle; None where it could not be made.
        latency_ms: Median end to end, one text at a time.
        failure: Why there is no bundle.
        invalid_reasons: Why its latency must not be relied on.
    """

    name: str
    manifest: Manifest | None = None
    latency_ms: float | None = None
    failure: str | None = None
    invalid_reasons: tuple[str, ...] = ()

    @property
    def costs(self) -> Costs:
        """What should be small: latency, bytes, and errors in the worst domain on validation texts."""
        if self.manifest is None or self.latency_ms is None:
            raise ValueError(f"candidate {self.name} was not measured")
        accuracies = self.manifest.validation or self.manifest.reference.domains
        return (self.latency_ms, float(self.manifest.size_bytes), 1.0 - min(accuracies.values()))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a candidate.

    Attributes:
        candidate: The candidate.
        won: Whether it is shipped.
        on_front: Whether no other one is at least as good in latency, size and worst domain, and better in one.
        reason: One sentence.
    """

    candidate: Candidate
    won: bool
    on_front: bool
    reason: str


def choose(candidates: Sequence[Candidate], max_size_mb: float | None = None) -> list[Verdict]:
    """Judge candidates that already hold their accuracy limit; the fastest of the Pareto front wins.

    Where several are equally fast, the smallest of them does, and of equally small ones the first.

    Args:
        candidates: Measured on one machine in one run; those with a ``failure`` lose.
        max_size_mb: Larger ones lose too; in 10^6 bytes.

    Returns:
        One verdict per candidate, in their order; none has won where none could be made.
    """
    candidates = [_within(candidate, max_size_mb) for candidate in candidates]
    measured = [candidate for candidate in candidates if candidate.failure is None]
    kept = on_front([candidate.costs for candidate in measured])
    front = [candidate for candidate, is_kept in zip(measured, kept, strict=True) if is_kept]
    winner = _winner(front) if front else None
    return [_verdict(candidate, winner, front) for candidate in candidates]


def _within(candidate: Candidate, max_size_mb: float | None) -> Candidate:
    """Return the candidate, as a failure where it is larger than allowed."""
    if max_size_mb is None or candidate.manifest is None or candidate.manifest.size_bytes <= 1e6 * max_size_mb:
        return candidate
    return replace(candidate, failure=f"{candidate.manifest.size_bytes / 1e6:.1f} MB, limit {max_size_mb:g}")


def _winner(front: Sequence[Candidate]) -> Candidate:
    fastest = min(candidate.costs[0] for candidate in front)
    equally_fast = [candidate for candidate in front if candidate.costs[0] <= (1.0 + SAME_SPEED) * fastest]
    smallest = min(candidate.costs[1] for candidate in equally_fast)
    return next(candidate for candidate in equally_fast if candidate.costs[1] <= (1.0 + SAME_SIZE) * smallest)


def _verdict(candidate: Candidate, winner: Candidate | None, front: Sequence[Candidate]) -> Verdict:
    if candidate.failure is not None or winner is None:
        return Verdict(candidate, won=False, on_front=False, reason=candidate.failure or "not made")
    if candidate is winner:
        return Verdict(candidate, won=True, on_front=True, reason="the fastest within the limits")
    on_front = candidate in front
    return Verdict(candidate, won=False, on_front=on_front, reason=_comparison(candidate, winner))


def _comparison(candidate: Candidate, winner: Candidate) -> str:
    """Say in which respects a candidate is worse than the winner, and in which better."""
    (latency, size, errors), (best_latency, best_size, best_errors) = candidate.costs, winner.costs
    parts = []
    if abs(latency / best_latency - 1) > SAME_SPEED:
        parts.append(f"{latency / best_latency:.2f}x the winner's latency")
    if abs(size - best_size) >= 50_000:
        parts.append(f"{(size - best_size) / 1e6:+.1f} MB")
    if abs(errors - best_errors) >= 0.0005:
        parts.append(f"{100 * (best_errors - errors):+.1f} points in its worst domain")
    return ", ".join(parts) or "as fast, as small and as right as the winner; the first one is kept"

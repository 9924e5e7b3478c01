"""Which candidate is shipped, and what is said about the others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hrkd_export.choice import Candidate, choose
from tiny_bundle import make_bundle


@pytest.fixture
def candidate(tmp_path: Path):
    """Return a builder of measured candidates; validation accuracies by domain."""

    def build(name: str, latency_ms: float, *validation: float, megabytes: float = 1.0) -> Candidate:
        manifest = make_bundle(tmp_path / name)
        model = manifest.files["model.onnx"]
        sized = manifest.files | {"model.onnx": replace(model, size_bytes=int(megabytes * 1e6))}
        accuracies = {f"domain{number}": value for number, value in enumerate(validation)}
        manifest = replace(manifest, files=sized, validation=accuracies)
        return Candidate(name, manifest, latency_ms)

    return build


def verdicts(*candidates: Candidate) -> dict[str, tuple[bool, bool, str]]:
    return {v.candidate.name: (v.won, v.on_front, v.reason) for v in choose(candidates)}


def test_the_fastest_of_the_front_wins(candidate) -> None:
    """Shipping the first or the smallest one would waste what was measured."""
    found = verdicts(candidate("slow", 2.0, 0.9, 0.9), candidate("fast", 1.0, 0.9, 0.88), candidate("mid", 1.5, 0.8))
    assert [name for name, (won, _, _) in found.items() if won] == ["fast"]
    assert found["slow"] == (False, True, "2.00x the winner's latency, +2.0 points in its worst domain")
    assert found["mid"][:2] == (False, False)  # slower and worse than `fast`


def test_equal_speed_is_decided_by_size(candidate) -> None:
    """A difference below the noise of two runs must not cost megabytes."""
    found = verdicts(candidate("big", 1.00, 0.9, megabytes=5.0), candidate("small", 1.02, 0.9, megabytes=2.0))
    assert found["small"][0]
    assert found["big"][2] == "+3.0 MB"


def test_nothing_to_choose_keeps_the_first(candidate) -> None:
    """Kilobytes must not decide for the more exotic graph."""
    found = verdicts(candidate("plain", 1.01, 0.9, megabytes=13.1), candidate("fused", 1.0, 0.9, megabytes=13.0))
    assert found["plain"][0]


def test_a_limit_of_size_is_held_with_its_reason(candidate) -> None:
    """The fastest bundle is of no use on a device that it does not fit."""
    big, small = candidate("big", 1.0, 0.9, megabytes=12.0), candidate("small", 1.5, 0.8, megabytes=9.0)
    found = {v.candidate.name: v for v in choose([big, small], max_size_mb=10.0)}
    assert (found["big"].won, found["small"].won) == (False, True)
    assert found["big"].reason == "12.0 MB, limit 10"


def test_the_worst_domain_counts_and_not_the_average(candidate) -> None:
    """An average hides the one domain whose users leave."""
    found = verdicts(candidate("even", 1.5, 0.85, 0.85), candidate("uneven", 1.6, 0.99, 0.80))
    assert found["uneven"][:2] == (False, False)


def test_what_could_not_be_made_loses_with_its_reason(candidate) -> None:
    """A silent absence from the table reads like a decision."""
    found = verdicts(Candidate("broken", failure="needs another library"), candidate("good", 1.0, 0.9))
    assert found["broken"] == (False, False, "needs another library")
    assert not any(verdict.won for verdict in choose([Candidate("broken", failure="no")]))


def test_twins_are_both_on_the_front(candidate) -> None:
    """Two equal candidates that dominate each other would leave no winner."""
    found = verdicts(candidate("one", 1.0, 0.9), candidate("two", 1.0, 0.9))
    assert [on_front for _, on_front, _ in found.values()] == [True, True]
    assert found["two"][2].startswith("as fast, as small and as right")

"""How processes take turns over the texts of a round."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hrkd_bench.measurement import rounds


class Worker:
    """Answers with the texts' own numbers and notes whose turn it was."""

    def __init__(self, name: str, turns: list[tuple[str, int]]) -> None:
        self.name, self.turns = name, turns

    def ask(self, command: str, indices: list[int]) -> dict[str, Any]:
        assert command == "run"
        self.turns.append((self.name, len(indices)))
        return {"indices": indices}


class Recorder:
    def __init__(self) -> None:
        self.texts: list[int] = []

    def add(self, number: int, indices: rounds.Ids, answer: dict[str, Any]) -> None:
        assert indices.tolist() == answer["indices"]
        self.texts += answer["indices"]


@pytest.mark.parametrize("repeats", [(1, 1), (4, 4), (1, 8), (120, 300)])
def test_turns_stay_short_however_often_texts_are_repeated(repeats: tuple[int, int]) -> None:
    """Prevents two fast subjects from being measured in long turns, far apart: a slow second would hit only one."""
    turns: list[tuple[str, int]] = []
    workers = [Worker(name, turns) for name in ("a", "b")]
    recorders = [Recorder(), Recorder()]
    chunk, reported = np.arange(200), []
    rounds.measure_texts(workers, recorders, 0, chunk, repeats, reported.append)  # type: ignore[arg-type]
    for recorder, times in zip(recorders, repeats, strict=True):
        assert np.bincount(recorder.texts).tolist() == [times] * 200
    assert sum(reported) == 200 * sum(repeats)
    own = {"a": 0, "b": 0}
    longest = dict(own)
    for (name, number), (before, _) in zip(turns, [turns[0], *turns]):
        own[name] = number + (own[name] if name == before else 0)
        longest[name] = max(longest[name], own[name])
    # Who ends a turn may begin the next one, because the order rotates; turns begin with three texts that do not count.
    assert max(longest.values()) <= 2 * (50 * -(-max(repeats) // min(repeats)) + 3)

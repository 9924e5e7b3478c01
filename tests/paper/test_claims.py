"""Several processes share the work, and none is left waiting."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from paper.claims import Claims, Outcome, Schedule

HOLDER = """
import sys, time
from pathlib import Path
from paper.claims import Claims
with Claims(Path(sys.argv[1])).hold("run") as own:
    print(own, flush=True)
    time.sleep(60)
"""


def test_a_claim_is_held_once(tmp_path: Path) -> None:
    """Two processes on one run would train it twice, the second over the first one's checkpoint."""
    with Claims(tmp_path).hold("run") as first:
        with Claims(tmp_path).hold("run") as second:
            assert (first, second) == (True, False)
        with Claims(tmp_path).hold("run", "other") as other:
            assert other
    with Claims(tmp_path).hold("run") as again:
        assert again


def test_the_claim_of_a_killed_process_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock file that outlives its process would block a run for ever."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2] / "benchmarks"))
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    with holder.stdout as words:
        assert words.readline() == "True\n"
        with Claims(tmp_path).hold("run") as own:
            assert not own
        holder.send_signal(signal.SIGKILL)
        holder.wait(10)
    with Claims(tmp_path).hold("run") as own:
        assert own


def test_the_schedule_goes_around_what_others_make() -> None:
    """A process that waits for another one's run idles, and one that skips a blocked run for good leaves it unmade."""
    attempts = {"taken": [Outcome.TAKEN], "blocked": [Outcome.BLOCKED] * 3 + [Outcome.DONE], "free": [Outcome.DONE]}
    made, slept = [], []

    def attempt(item: str) -> Outcome:
        outcomes = attempts[item]
        outcome = outcomes.pop(0) if len(outcomes) > 1 else outcomes[0]
        if outcome is Outcome.DONE:
            made.append(item)
        return outcome

    left = Schedule(list(attempts), attempt, slept.append).work()
    assert made == ["free", "blocked"]
    assert left == ["taken"]
    assert len(slept) == 2


def test_a_failed_run_does_not_stop_the_others() -> None:
    """One diverging method must not cost a night."""
    schedule = Schedule(["bad", "good"], {"bad": Outcome.FAILED, "good": Outcome.DONE}.__getitem__)
    assert schedule.work() == []
    assert schedule.failed == ["bad"]

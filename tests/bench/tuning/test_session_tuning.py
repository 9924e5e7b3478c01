"""The tuner: what it tries, what it believes, and what is left of a bundle when the winner is saved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hrkd.bundle import CARD, open_bundle
from hrkd.bundle_card import render_card
from hrkd.bundle_verify import verify_bundle
from hrkd.errors import ArtifactError, BenchError
from hrkd.metrics import Interval
from hrkd_bench.claims.ratio import verdict
from hrkd_bench.examples import read_examples
from hrkd_bench.limits.confinement import Limits
from hrkd_bench.runtime import Classifier
from hrkd_bench.subjects import subject_of
from hrkd_bench.tuning import saving as session_saving
from hrkd_bench.tuning import search as session_tuning
from hrkd_bench.tuning.saving import copy_with_session, save_session
from hrkd_bench.tuning.search import (
    best_of,
    default_settings,
    memory_candidates,
    thread_candidates,
    thread_counts,
    tune,
    tuning_table,
)
from hrkd_bench.tuning.trial import Plan, Settings, Side, Trial, run_trial
from tiny_bundle import LABELS, make_bundle

DEFAULT = Settings(2, allow_spinning=False, enable_cpu_mem_arena=True, enable_mem_pattern=True)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    make_bundle(tmp_path / "bundle", per_domain=10)
    return tmp_path / "bundle"


def trial(settings: Settings, against: Settings, low: float, high: float, *, same_labels: bool = True) -> Trial:
    speedup = Interval((low * high) ** 0.5, low, high)
    return Trial(settings, against, speedup, verdict(speedup, 0.03), 1.0, 1.0, 10**8, 10**8, same_labels)


def test_what_is_tried() -> None:
    """Prevents settings that are never tried, and more threads than affinity and quota grant."""
    assert thread_counts(1) == [1]
    assert thread_counts(4) == [1, 2, 3, 4]
    assert thread_counts(12) == [1, 2, 3, 4, 8, 12]
    tried = {(one.threads, one.allow_spinning) for one in thread_candidates(DEFAULT, 2)}
    assert tried == {(1, False), (2, True)}
    assert thread_candidates(replace(DEFAULT, threads=1), 1) == []
    both = {(one.enable_cpu_mem_arena, one.enable_mem_pattern) for one in memory_candidates(DEFAULT)}
    assert both == {(False, True), (True, False), (False, False)}


def test_the_default_is_what_the_bundle_does(tmp_path: Path) -> None:
    """Prevents a gain over settings that nobody has: those of the manifest count, as the runtime reads them."""
    session = {"allow_spinning": "1", "enable_mem_pattern": False, "intra_op_num_threads": 3}
    manifest = make_bundle(tmp_path / "bundle", session=session)
    assert default_settings(manifest, 4) == Settings(3, True, True, False)
    assert default_settings(manifest, 2).threads == 2
    assert default_settings(replace(manifest, session={}), 2) == DEFAULT


def test_only_what_is_certain_wins() -> None:
    """Prevents the luckiest of several noisy numbers from being chosen, and a fast setting with other answers."""
    fast = replace(DEFAULT, threads=1)
    lucky = trial(replace(DEFAULT, allow_spinning=True), DEFAULT, 0.9, 3.0)
    certain = trial(fast, DEFAULT, 1.05, 1.3)
    wrong = trial(replace(DEFAULT, enable_mem_pattern=False), DEFAULT, 2.0, 2.1, same_labels=False)
    assert best_of([lucky, wrong]) is None
    assert best_of([lucky, certain, wrong]) == fast


@pytest.mark.parametrize(("again", "improves"), [((1.05, 1.3), True), ((0.98, 1.3), False)])
def test_the_winner_must_win_again(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, again: tuple[float, float], improves: bool
) -> None:
    """Prevents a recommendation from the same numbers that chose it."""
    calls: list[tuple[Settings, Settings, int]] = []

    def made_up(candidate: Side, incumbent: Side, number_of_rounds: int, plan: Plan) -> Trial:
        assert subject_of(candidate.subject.path).path.is_dir()
        session = open_bundle(candidate.subject.path).session
        assert {name: session[name] for name in candidate.settings.session()} == candidate.settings.session()
        calls.append((candidate.settings, incumbent.settings, number_of_rounds))
        assert len(list(candidate.subject.path.parent.iterdir())) == 2
        if number_of_rounds == 8:
            return trial(candidate.settings, incumbent.settings, *again)
        faster = candidate.settings.threads == 1 and incumbent.settings.threads == 2
        return trial(candidate.settings, incumbent.settings, *((1.1, 1.2) if faster else (0.9, 1.1)))

    monkeypatch.setattr(session_tuning, "run_trial", made_up)
    found = tune(bundle, granted=2)
    winner = replace(DEFAULT, threads=1)
    assert found.improves is improves
    assert found.winner == (winner if improves else DEFAULT)
    assert found.session() == ({"intra_op_num_threads": 1} if improves else {})
    assert calls[-1] == (winner, DEFAULT, 8)
    assert [against.threads for _, against, _ in calls[2:5]] == [1, 1, 1]
    assert len(tuning_table(found).splitlines()) == 2 + len(calls)
    assert found.document()["improves"] is improves


def test_other_engines_are_refused(bundle: Path) -> None:
    """Prevents settings of onnxruntime's processor provider in a bundle that runs on something else."""
    save_session(bundle, {"providers": "CUDAExecutionProvider,CPUExecutionProvider"})
    with pytest.raises(BenchError, match="all that can be tuned"):
        tune(bundle)


def test_a_real_trial_measures_both_sides(bundle: Path, tmp_path: Path) -> None:
    """Prevents a number without a measurement behind it, and labels of another text."""
    texts = read_examples(bundle, LABELS, ("books", "films"))
    positions = np.arange(20)
    plan = Plan(texts, positions, np.tile(positions, 4), 5, 0.03, Limits())
    one = replace(DEFAULT, threads=1)
    copy_with_session(bundle, tmp_path / "copy", one.session())
    sides = [Side(subject_of(path), one) for path in (bundle, tmp_path / "copy")]
    found = run_trial(sides[1], sides[0], 2, plan)
    assert found.same_labels
    assert 0.2 < found.speedup.value < 5
    assert found.p50_ms > 0
    assert found.rss_bytes is not None
    assert found.rss_bytes > 10**7


def test_the_saved_bundle_is_whole(bundle: Path) -> None:
    """Prevents a bundle whose hashes, card or answers no longer fit after its settings were saved."""
    before = open_bundle(bundle)
    (bundle / ".note").write_text("mine", encoding="ascii")
    answers = [one.probabilities for one in Classifier.load(bundle, threads=1)(["good fine film"] * 2, domain="films")]
    after = save_session(bundle, {"enable_mem_pattern": False, "intra_op_num_threads": 1})
    assert verify_bundle(bundle).manifest == after
    assert after.session == {**before.session, "enable_mem_pattern": False, "intra_op_num_threads": 1}
    assert after.model_sha256 == before.model_sha256
    assert (bundle / CARD).read_text(encoding="utf-8") == render_card(after)
    assert "mem\\_pattern" in (bundle / CARD).read_text(encoding="utf-8")
    assert (bundle / ".note").read_text(encoding="ascii") == "mine"
    again = Classifier.load(bundle)
    assert again.threads == 1
    assert [one.probabilities for one in again(["good fine film"] * 2, domain="films")] == answers
    assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]


def test_a_failure_leaves_the_bundle_as_it_was(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents half a bundle after a full disk."""
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}

    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(session_saving, "write_manifest", fail)
    with pytest.raises(OSError, match="No space"):
        save_session(bundle, {"enable_mem_pattern": False})
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before
    assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]
    with pytest.raises(ArtifactError, match="exists already"):
        copy_with_session(bundle, bundle, {})

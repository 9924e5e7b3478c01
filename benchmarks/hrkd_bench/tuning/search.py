"""Which threads, spinning, memory arena and memory pattern are fastest for a bundle on this machine.

Every combination against every other would take hours on a device, and the best of many noisy numbers is too good to be
true. So: threads and spinning together, against what the bundle does now; then arena and pattern, against the best so
far; then the winner once more against what the bundle does now, in fresh processes. Only what is faster there as well,
by more than the difference that matters, is recommended; otherwise everything stays as it is.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hrkd.bundle import Manifest, open_bundle
from hrkd.engines import Setting, whole_number
from hrkd.errors import BenchError
from hrkd.markdown import table
from hrkd_bench.examples import choose, read_examples
from hrkd_bench.limits.confinement import Limits
from hrkd_bench.machine.cpus import available_cpus
from hrkd_bench.measurement import schedule
from hrkd_bench.subjects import subject_of
from hrkd_bench.tuning.saving import copy_with_session
from hrkd_bench.tuning.trial import Plan, Settings, Side, Trial, as_document, run_trial

Progress = Callable[[str, int, int], None]
SEED = 0
_ALL_COUNTS = 4  # of threads that are each tried; beyond, only doubles and the most
_MOST_STEPS = 3


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured.

    Attributes:
        texts: Of each process and round.
        screening_rounds: Of each candidate.
        confirming_rounds: Of the winner.
        warmup_texts: Answers of each process before it counts.
        smallest_difference: Share of the latency that matters.
    """

    texts: int = 60
    screening_rounds: int = 5
    confirming_rounds: int = 8
    warmup_texts: int = 50
    smallest_difference: float = 0.03


@dataclass(frozen=True, slots=True)
class Tuning:
    """What was found.

    Attributes:
        default: What the bundle does now on this machine.
        trials: Every candidate, in the order of trying.
        confirmation: The winner of the trials once more against the default; None where there was none.
        winner: What is recommended: the default, unless the confirmation says FASTER.
    """

    default: Settings
    trials: tuple[Trial, ...]
    confirmation: Trial | None
    winner: Settings

    @property
    def improves(self) -> bool:
        """Whether there is anything to save."""
        return self.winner != self.default

    def session(self) -> dict[str, Setting]:
        """Return the settings to save (:func:`hrkd_bench.tuning.saving.save_session`); empty when none improves."""
        old = self.default.session()
        return {name: value for name, value in self.winner.session().items() if value != old[name]}

    def document(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "default": dict(self.default.session()),
            "trials": as_document(self.trials),
            "confirmation": None if self.confirmation is None else as_document([self.confirmation])[0],
            "winner": dict(self.winner.session()),
            "improves": self.improves,
        }


def tune(
    bundle: Path,
    *,
    effort: Effort | None = None,
    progress: Progress | None = None,
    limits: Limits | None = None,
    granted: int | None = None,
) -> Tuning:
    """Try settings on a bundle's own texts.

    Args:
        bundle: Its folder; it is not changed.
        effort: How much is measured.
        progress: Called with what is being tried, how many were, and how many there are at most.
        limits: What each process may use.
        granted: Most threads; what affinity and quota grant when left out.

    Raises:
        BenchError: The bundle is not for onnxruntime's processor provider, or a process failed.
        ArtifactError: The bundle is damaged.
    """
    manifest = open_bundle(bundle)
    if manifest.engine != "onnxruntime" or "providers" in manifest.session:
        raise BenchError(
            f"`{bundle}` does not run on onnxruntime's processor provider, which is all that can be tuned",
            hint="`hrkd bench` measures it as it is",
        )
    most = available_cpus() if granted is None else granted
    with TemporaryDirectory(prefix="hrkd-tune-") as name:
        search = _Search(bundle, manifest, most, effort or Effort(), limits or Limits(), Path(name), progress)
        return search.run()


def default_settings(manifest: Manifest, granted: int) -> Settings:
    """Return what a bundle does now where it may use ``granted`` threads."""
    session = manifest.session

    def switch(name: str, otherwise: bool) -> bool:
        return bool(whole_number(name, session.get(name, otherwise)))

    return Settings(
        threads=min(granted, whole_number("intra_op_num_threads", session.get("intra_op_num_threads", granted))),
        allow_spinning=switch("allow_spinning", False),
        enable_cpu_mem_arena=switch("enable_cpu_mem_arena", True),
        enable_mem_pattern=switch("enable_mem_pattern", True),
    )


def thread_counts(granted: int) -> list[int]:
    """Return the numbers of threads to try: all up to four, then doubles, and the most that is granted."""
    doubles = [_ALL_COUNTS * 2**step for step in range(1, _MOST_STEPS + 1)]
    return sorted({count for count in [*range(1, _ALL_COUNTS + 1), *doubles, granted] if count <= granted})


def thread_candidates(default: Settings, granted: int) -> list[Settings]:
    """Return threads and spinning to try together; one thread has nobody to spin for."""
    both = [(count, spinning) for count in thread_counts(granted) for spinning in (False, True)]
    found = [
        replace(default, threads=count, allow_spinning=spinning)
        for count, spinning in both
        if count > 1 or spinning == default.allow_spinning
    ]
    return [settings for settings in found if settings != default]


def memory_candidates(best: Settings) -> list[Settings]:
    """Return the other combinations of arena and pattern."""
    both = [(arena, pattern) for arena in (True, False) for pattern in (True, False)]
    found = [replace(best, enable_cpu_mem_arena=arena, enable_mem_pattern=pattern) for arena, pattern in both]
    return [settings for settings in found if settings != best]


def best_of(trials: Sequence[Trial]) -> Settings | None:
    """Return the settings with the largest certain gain: FASTER, with the same answers; None when there are none."""
    faster = [trial for trial in trials if trial.verdict == "FASTER" and trial.same_labels]
    return max(faster, key=lambda trial: trial.speedup.low).settings if faster else None


def tuning_table(tuning: Tuning) -> str:
    """Return a Markdown table of what was tried."""
    named = [("", trial) for trial in tuning.trials]
    named += [] if tuning.confirmation is None else [("again: ", tuning.confirmation)]
    rows = [
        [
            before + trial.settings.words,
            trial.against.words,
            f"{trial.p50_ms:.2f} / {trial.against_p50_ms:.2f} ms",
            f"{trial.speedup.value:.3f} ({trial.speedup.low:.3f} to {trial.speedup.high:.3f})",
            "-" if trial.rss_bytes is None else f"{trial.rss_bytes / 1e6:.0f} MB",
            trial.verdict if trial.same_labels else "other answers",
        ]
        for before, trial in named
    ]
    return table(["settings", "against", "p50", "times faster", "memory", "verdict"], rows)


class _Search:
    def __init__(
        self,
        bundle: Path,
        manifest: Manifest,
        granted: int,
        effort: Effort,
        limits: Limits,
        folder: Path,
        progress: Progress | None,
    ) -> None:
        self._bundle, self._manifest, self._granted = bundle, manifest, granted
        self._effort, self._limits, self._folder, self._progress = effort, limits, folder, progress
        self._texts = read_examples(bundle, manifest.label_names, manifest.domain_names)
        self._default = default_settings(manifest, granted)
        self._sides: dict[Settings, Side] = {}
        self._tries = 0

    def run(self) -> Tuning:
        default = best = self._default
        trials: list[Trial] = []
        for candidates in (thread_candidates, lambda settings, _: memory_candidates(settings)):
            stage = [self._try(settings, best) for settings in candidates(best, self._granted)]
            trials += stage
            best = best_of(stage) or best
        if best == default:
            return Tuning(default, tuple(trials), None, default)
        again = self._try(best, default, self._effort.confirming_rounds)
        return Tuning(default, tuple(trials), again, best_of([again]) or default)

    def _try(self, settings: Settings, against: Settings, number_of_rounds: int | None = None) -> Trial:
        if self._progress is not None:
            most = len(thread_candidates(self._default, self._granted)) + len(memory_candidates(self._default)) + 1
            self._progress(f"trying {settings.words}", self._tries, most)
        self._tries += 1
        self._forget_all_but(settings, against)
        count = number_of_rounds or self._effort.screening_rounds
        return run_trial(self._side(settings), self._side(against), count, self._plan(count))

    def _forget_all_but(self, *kept: Settings) -> None:
        """Remove copies that are not needed now: a device may have room for two of them, not for ten."""
        for settings in [settings for settings in self._sides if settings not in kept]:
            shutil.rmtree(self._sides.pop(settings).subject.path)

    def _plan(self, number_of_rounds: int) -> Plan:
        # Of the texts a sample of all domains: as many as the rounds take, fewer where the bundle has fewer.
        wanted = number_of_rounds * self._effort.texts
        positions = choose(self._texts, max(wanted, len(self._manifest.domain_names)), SEED)
        return Plan(
            texts=self._texts,
            positions=positions,
            entries=schedule.passes(positions, wanted, SEED),
            warmup_texts=self._effort.warmup_texts,
            smallest_difference=self._effort.smallest_difference,
            limits=self._limits,
        )

    def _side(self, settings: Settings) -> Side:
        """Return the bundle with these settings, which is exactly what would be saved."""
        if settings not in self._sides:
            folder = self._folder / f"{self._tries}-{len(self._sides)}"
            copy_with_session(self._bundle, folder, settings.session())
            self._sides[settings] = Side(subject_of(folder), settings)
        return self._sides[settings]

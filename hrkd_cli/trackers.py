"""Curves for Weights & Biases and MLflow, through accelerate; nothing is sent anywhere unless it is asked for by name.

Where things go is decided by the services' own variables: `WANDB_MODE=offline`, `WANDB_PROJECT`, `MLFLOW_TRACKING_URI`,
`MLFLOW_EXPERIMENT_NAME` and so on.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hrkd.artifact import StageRecord
from hrkd.errors import HrkdError, first_line
from hrkd.metrics import DomainScores
from hrkd.recipe import Recipe
from hrkd.run_folder import RunFolder
from hrkd.training.observer import Observer, StepReport, validation_curves
from hrkd_cli.options import Tracker

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

PROJECT = "hrkd"
STEPS_BETWEEN_POINTS = 10
"""A request to a server for every step would cost more than the step."""
_NOT_IN_A_NAME = re.compile(r"[^\w\-./ :]")  # MLflow refuses them


@contextmanager
def tracked(names: Sequence[Tracker], recipe: Recipe, run: RunFolder, beside: Observer) -> Iterator[Observer]:
    """Yield an observer that hands the curves of every stage to the trackers, one run of theirs per stage.

    Args:
        names: Trackers; their packages are installed.
        recipe: Goes along as the configuration of the run.
        run: Local files of a tracker go below its events.
        beside: Told when a tracker fails.
    """
    observer = TrackerObserver(names, recipe, run, beside)
    try:
        yield observer
    finally:
        observer.close()


class TrackerObserver(Observer):
    """See :func:`tracked`. A tracker that fails at the start of a stage ends it; one that fails later is left out."""

    def __init__(self, names: Sequence[Tracker], recipe: Recipe, run: RunFolder, beside: Observer) -> None:
        self.names = names
        self.recipe = recipe
        self.run = run
        self.beside = beside
        self.open: dict[Tracker, GeneralTracker] = {}

    def started(self, stage: str, first_step: int, total_steps: int) -> None:
        """Begin a run of each tracker.

        Raises:
            HrkdError: One cannot be reached, or wants to know who is asking; nothing was trained yet.
        """
        self.close()
        settings = _flat(self.recipe.model_dump(mode="json"))
        settings |= {"stage": stage, "first_step": first_step, "total_steps": total_steps}
        for name in self.names:
            try:
                tracker = _begin(name, f"{self.recipe.name}/{stage}", self.recipe.name, self.run)
                self.open[name] = tracker
                tracker.store_init_configuration(settings)
            except Exception as error:
                raise HrkdError(
                    f"{name} cannot be started: {first_line(error)}",
                    hint="check its login and address, set WANDB_MODE=offline, or leave out `--track`",
                ) from error

    def step(self, report: StepReport) -> None:
        """Hand on the curves of some steps, always of the first and the last."""
        if report.step % STEPS_BETWEEN_POINTS == 0 or report.step in (1, report.total_steps):
            self._log(report.curves(), report.step)

    def evaluated(self, step: int, scores: DomainScores, is_best: bool) -> None:
        """Hand on the validation accuracy."""
        self._log(validation_curves(scores), step)

    def finished(self, record: StageRecord, skipped: bool) -> None:
        """End the stage's runs."""
        self.close()

    def close(self) -> None:
        """End the runs that are open, so that what they hold back is sent."""
        while self.open:
            name, tracker = self.open.popitem()
            self._attempt(name, tracker.finish)

    def _log(self, points: Mapping[str, float], step: int) -> None:
        values = {_NOT_IN_A_NAME.sub("_", name): value for name, value in points.items()}
        for name, tracker in [*self.open.items()]:
            if not self._attempt(name, lambda tracker=tracker: tracker.log(values, step=step)):
                del self.open[name]

    def _attempt(self, name: Tracker, action: Any) -> bool:
        try:
            action()
        except Exception as error:  # noqa: BLE001  (whatever a service does, the training is worth more)
            self.beside.message(f"{name} is left out from here on: {first_line(error)}")
            return False
        return True


def _begin(name: Tracker, title: str, group: str, run: RunFolder) -> GeneralTracker:
    """Open a run of a tracker."""
    from accelerate import PartialState
    from accelerate.tracking import MLflowTracker, WandBTracker

    PartialState()  # accelerate's trackers and their log ask it which process this is
    tracker: GeneralTracker
    if name is Tracker.WANDB:
        folder = os.environ.get("WANDB_DIR") or str(run.events)
        run.events.mkdir(parents=True, exist_ok=True)
        tracker = WandBTracker(os.environ.get("WANDB_PROJECT", PROJECT), name=title, group=group, dir=folder)
    else:
        tracker = MLflowTracker(PROJECT, run_name=title, tags={"run": group})
    tracker.start()
    return tracker


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of a tree with dotted names, as `--set` takes them."""
    found: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            found |= _flat(item, f"{prefix}{key}.")
        else:
            name = _NOT_IN_A_NAME.sub("_", f"{prefix}{key}")
            found[name] = item if isinstance(item, str | int | float) else str(item)
    return found

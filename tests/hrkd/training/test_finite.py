"""Numbers that are none: refused before they reach the weights, and never scored."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hrkd.data.batches import DomainBatches
from hrkd.data.collate import Batch, TokenizedExamples
from hrkd.data.dataset import Examples
from hrkd.device import Device
from hrkd.errors import CheckpointError, HrkdError
from hrkd.evaluation import predict_logits
from hrkd.metrics import DomainScores
from hrkd.recipe import Recipe, TrainingConfig
from hrkd.run_folder import RunFolder
from hrkd.training import distill, train_teacher
from hrkd.training.optimization import OuterSchedule, build_optimizer
from hrkd.training.stage_plan import Stage
from hrkd.training.state import Progress
from hrkd.training.step import StepResult
from hrkd.training.update import Updates


class Edge(nn.Module):
    """The root of a weight at zero: a finite value whose slope is not."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.other = (nn.Parameter(torch.tensor([value])) for value in (0.0, 2.0))
        self.graph = nn.Parameter(torch.tensor([3.0]))


class AtTheEdge:
    """An objective on such a model."""

    def __init__(self, *, steep: bool) -> None:
        self.trainable: nn.Module = Edge()
        self.steep = steep

    @property
    def model(self) -> nn.Module:
        return self.trainable

    def __call__(self, batch: Batch, progress: float) -> StepResult:
        edge, other = self.trainable.get_parameter("weight"), self.trainable.get_parameter("other")
        return StepResult((edge.sqrt() if self.steep else edge).sum() + other.sum())


def make_updates(objective: AtTheEdge, outer_slope: float | None) -> tuple[Updates, Batch]:
    examples = TokenizedExamples(
        np.zeros(8, np.int32), np.arange(9), np.zeros(8, np.int64), np.zeros(8, np.int64), pad_id=0
    )
    texts = Examples(("",) * 8, None, examples.labels, examples.domains)
    batches, graph = DomainBatches(texts, examples.lengths, 2, 1, 0), objective.trainable.get_parameter("graph")

    def outer(*_: object) -> dict[str, Tensor]:
        graph.grad = torch.tensor([outer_slope or 0.0])
        return {}

    stage = Stage(
        name="student",
        input_hash="test",
        state_folder=Path("nowhere"),
        domain_names=("all",),
        examples=examples,
        batches=batches,
        validate=lambda: DomainScores({"all": 0.5}),
        config=TrainingConfig(),
        device=Device(torch.device("cpu"), torch.float32),
        outer=None if outer_slope is None else OuterSchedule((graph,), 0.1, 1, batches, outer),
    )
    optimizer = build_optimizer(objective.trainable, stage.config, stage.outer)
    return Updates(objective, stage, optimizer, print), stage.batch(batches, 0)


@pytest.mark.parametrize(
    ("steep", "outer_slope", "message"),
    [
        (True, None, "the gradient became inf in step 5 of the student"),
        (False, math.nan, "the graph's gradient became nan in step 5 of the student"),
    ],
)
def test_a_gradient_that_is_no_number_stops_before_the_weights(
    steep: bool, outer_slope: float | None, message: str
) -> None:
    """Clipped, one infinite slope is NaN in every weight; a checkpoint of that is what each resume begins with."""
    objective = AtTheEdge(steep=steep)
    update, batch = make_updates(objective, outer_slope)
    with pytest.raises(HrkdError, match=message) as caught:
        update(batch, Progress("test", step=4))
    assert caught.value.hint is not None
    assert "the last checkpoint is kept" in caught.value.hint
    assert all(bool(value.isfinite().all()) for value in objective.trainable.state_dict().values())


def test_steps_of_finite_slopes_are_done() -> None:
    """A check that is too eager ends trainings that are well."""
    objective = AtTheEdge(steep=False)
    before = {name: value.clone() for name, value in objective.trainable.state_dict().items()}
    update, batch = make_updates(objective, 1.0)
    update(batch, Progress("test"))
    assert all(not torch.equal(value, before[name]) for name, value in objective.trainable.state_dict().items())


def test_a_student_that_answers_with_nan_is_not_scored(
    tmp_path: Path, make_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    """NaN is the first label to argmax: a broken student would be written with half of its answers right."""
    recipe = make_recipe(teacher={"training": {"epochs": 0.2, "precision": "fp32"}}, training={"epochs": 0.2})
    run = RunFolder.create(tmp_path / "run", recipe)
    train_teacher(recipe, run)

    def broken(*arguments: object) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = predict_logits(*arguments)  # type: ignore[arg-type]
        logits[-2:] = np.nan
        return logits

    monkeypatch.setattr("hrkd.training.scoring.predict_logits", broken)
    with pytest.raises(CheckpointError, match=r"answers 2 of \d+ test texts with NaN or infinity, the first in `\w+`"):
        distill(recipe, run)
    assert not run.student.exists()

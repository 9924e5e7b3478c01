"""One update of the parameters, and what is said about it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from hrkd.data.collate import Batch
from hrkd.distributed import average_gradients, world_size
from hrkd.errors import HrkdError
from hrkd.training.gradients import Result, leave_gradients, with_fewer_at_once
from hrkd.training.observer import StepReport
from hrkd.training.optimization import learning_rate_factor, set_learning_rate
from hrkd.training.stage_plan import Stage
from hrkd.training.state import Progress
from hrkd.training.step import Objective, StepResult


class Updates:
    """The updates of one training, whose memory of earlier ones is the optimizer's and the progress's.

    Args:
        objective: What to minimise; its modules stand on the stage's device.
        stage: Of as many processes as began the training.
        optimizer: Holds every trainable parameter.
        message: Told when a step has to be done in more parts.
    """

    def __init__(
        self, objective: Objective, stage: Stage, optimizer: torch.optim.Optimizer, message: Callable[[str], None]
    ) -> None:
        self.objective = objective
        self.stage = stage
        self.optimizer = optimizer
        self.message = message
        self.speed = Speed()

    def __call__(self, batch: Batch, progress: Progress) -> StepReport:
        """Do the step that ``progress`` has come to, and describe it; counting it is left to the caller.

        Raises:
            HrkdError: The loss or its gradient became NaN or infinite, or one text of each domain does not fit into
                memory.
        """
        stage, step = self.stage, progress.step
        learning_rate = self._set_learning_rate(step)
        self.objective.trainable.train()
        result = self._inner_step(batch, progress)
        terms = {"loss": result.loss, **result.terms, **self._outer_step(batch, progress, learning_rate)}
        return StepReport(
            step=step + 1,
            total_steps=stage.total_steps,
            terms={name: value.item() for name, value in terms.items()},
            learning_rate=learning_rate,
            examples_per_second=self.speed.count(len(batch.labels) * world_size()),
            domain_names=stage.domain_names,
            domain_ratios={} if result.domain_ratios is None else _by_level(result.domain_ratios),
            hierarchical_ratios=[level.tolist() for level in result.hierarchical_ratios],
        )

    def _set_learning_rate(self, step: int) -> float:
        config = self.stage.config
        factor = learning_rate_factor(step, self.stage.total_steps, config.warmup_fraction)
        set_learning_rate(self.optimizer, config.learning_rate * factor)
        return config.learning_rate * factor

    def _inner_step(self, batch: Batch, progress: Progress) -> StepResult:
        """Update everything that the loss trains."""
        stage, step = self.stage, progress.step

        def work(number: int) -> StepResult:
            return leave_gradients(
                self.objective,
                batch,
                step / stage.total_steps,
                stage.device,
                stage.batches.num_domains,
                number,
                lambda result: self._check_finite(result.loss, "loss", step),
            )

        result = self._in_parts(work, batch, progress)
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        average_gradients(parameters)
        norm = nn.utils.clip_grad_norm_(parameters, stage.config.max_grad_norm)
        self._apply(norm, "gradient", step)
        return result

    def _outer_step(self, batch: Batch, progress: Progress, learning_rate: float) -> dict[str, Tensor]:
        """Update the parameters of the outer schedule when it is their turn; AdamW passes over the others."""
        stage, step, outer = self.stage, progress.step, self.stage.outer
        if outer is None or (step + 1) % outer.every:
            return {}
        held_out = stage.batch(outer.batches, step).to(stage.device.device)

        def work(number: int) -> dict[str, Tensor]:
            with stage.device.autocast():
                return outer.update(batch, held_out, step / stage.total_steps, learning_rate, number)

        terms = self._in_parts(work, batch, progress)
        gradients = [parameter.grad for parameter in outer.parameters if parameter.grad is not None]
        self._apply(nn.utils.get_total_norm(gradients), "graph's gradient", step)
        return terms

    def _in_parts(self, work: Callable[[int], Result], batch: Batch, progress: Progress) -> Result:
        """Do something in as many parts as fitted so far, and remember it when it takes more."""
        stage, trainable = self.stage, self.objective.trainable
        result, progress.micro_batches = with_fewer_at_once(
            work, batch, stage.batches.num_domains, progress.micro_batches, stage.device, trainable, self.message
        )
        return result

    def _apply(self, norm: Tensor, what: str, step: int) -> None:
        """Let the optimizer follow gradients of this norm; one that is no number would be in all weights at once."""
        self._check_finite(norm, what, step)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _check_finite(self, scalar: Tensor, what: str, step: int) -> None:
        if not math.isfinite(value := scalar.item()):
            raise HrkdError(
                f"the {what} became {value} in step {step + 1} of the {self.stage.name}",
                hint="lower `learning_rate`, or use `precision: fp32`; the last checkpoint is kept",
            )


def _by_level(domain_ratios: Tensor) -> dict[str, list[float]]:
    return {f"level_{level}": ratios for level, ratios in enumerate(domain_ratios.tolist())}


class Speed:
    """Examples per second over the last steps, time for evaluation and checkpoints left out."""

    def __init__(self, window: int = 20) -> None:
        self.window = window
        self.marks: list[tuple[float, int]] = [(time.perf_counter(), 0)]

    def count(self, examples: int) -> float:
        """Note a finished step and return the present speed."""
        self.marks = [*self.marks[-self.window :], (time.perf_counter(), examples)]
        return sum(count for _, count in self.marks[1:]) / (self.marks[-1][0] - self.marks[0][0])

    def pause(self) -> None:
        """Leave out the time since the last step."""
        self.marks = [(time.perf_counter(), 0)]

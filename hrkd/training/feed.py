"""The batches of consecutive steps, each put together in a thread while the step before it runs."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from hrkd.data.collate import Batch
from hrkd.training.stage_plan import Stage


class Feed:
    """Reads ahead by one batch; use as a context manager.

    A batch is a function of its step alone, so that reading ahead changes nothing but the time. For a GPU it stands in
    page-locked memory, from which it is copied while the GPU still computes.

    Args:
        stage: Whose batches; nobody else may ask for them meanwhile.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="feed")
        self._ahead: tuple[int, Future[Batch]] | None = None

    def __enter__(self) -> Feed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._thread.shutdown(cancel_futures=True)

    def __call__(self, step: int) -> Batch:
        """Return a step's batch on the stage's device, and begin with the next one."""
        if self._ahead is None or self._ahead[0] != step:
            self._ahead = (step, self._thread.submit(self._make, step))
        batch = self._ahead[1].result()
        if step + 1 < self._stage.total_steps:
            self._ahead = (step + 1, self._thread.submit(self._make, step + 1))
        return batch.to(self._stage.device.device)

    def _make(self, step: int) -> Batch:
        batch = self._stage.batch(self._stage.batches, step)
        return batch.pinned() if self._stage.device.device.type == "cuda" else batch

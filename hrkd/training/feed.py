"""The batches of consecutive steps; for a GPU each is put together while the step before it runs."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from hrkd.data.collate import Batch
from hrkd.training.stage_plan import Stage


class Feed:
    """Gives out the batches of a training; use as a context manager.

    A batch is a function of its step alone, so that reading ahead changes nothing but the time. It then stands in
    page-locked memory, from which it is copied while the GPU still computes. On the CPU, which has the step itself to
    do, reading ahead gains nothing (docs/log.md).

    Args:
        stage: Whose batches; nobody else may ask for them meanwhile.
        ahead: Whether to make the next batch in a thread.
    """

    def __init__(self, stage: Stage, *, ahead: bool) -> None:
        self._stage = stage
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="feed") if ahead else None
        self._next: tuple[int, Future[Batch]] | None = None

    def __enter__(self) -> Feed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)

    def __call__(self, step: int) -> Batch:
        """Return a step's batch on the stage's device."""
        batch = self._make(step) if self._thread is None else self._made(step, self._thread)
        return batch.to(self._stage.device.device)

    def _made(self, step: int, thread: ThreadPoolExecutor) -> Batch:
        """Wait for a batch of the thread, and let it begin with the next one."""
        if self._next is None or self._next[0] != step:
            self._next = (step, thread.submit(self._make, step))
        batch = self._next[1].result()
        if step + 1 < self._stage.total_steps:
            self._next = (step + 1, thread.submit(self._make, step + 1))
        return batch

    def _make(self, step: int) -> Batch:
        batch = self._stage.batch(self._stage.batches, step)
        return batch.pinned() if self._stage.device.device.type == "cuda" else batch

"""Batches that are read ahead are the batches that would have been read."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
import torch

from hrkd.data.batches import DomainBatches
from hrkd.data.collate import Batch, TokenizedExamples
from hrkd.data.dataset import Examples
from hrkd.device import Device
from hrkd.training.feed import Feed
from hrkd.training.stage_plan import Stage


class Described:
    """A stage of six steps that notes who asks for what."""

    total_steps = 6
    device = Device(torch.device("cpu"), torch.float32)

    def __init__(self) -> None:
        domains, labels = np.repeat([0, 1], 20), np.zeros(40, dtype=np.int64)
        self.examples = TokenizedExamples(np.arange(200, dtype=np.int32), np.arange(0, 205, 5), labels, domains, 0)
        self.batches = DomainBatches(Examples(("",) * 40, None, labels, domains), self.examples.lengths, 3, 2, 1)
        self.asked: list[tuple[int, str]] = []
        self.made = threading.Event()

    def batch(self, batches: DomainBatches, step: int) -> Batch:
        self.asked.append((step, threading.current_thread().name))
        if step == 5:
            raise OSError("the disk is gone")
        self.made.set()
        return self.examples.batch(batches.indices(step))


@pytest.fixture
def stage() -> Described:
    return Described()


def as_stage(stage: Described) -> Stage:
    return cast("Stage", stage)


@pytest.mark.parametrize("ahead", [False, True])
def test_every_step_gets_its_own_batch_also_after_a_jump(stage: Described, ahead: bool) -> None:
    """Prevents a training that goes on at a checkpoint from getting the batch that was read ahead before."""
    with Feed(as_stage(stage), ahead=ahead) as feed:
        for step in (0, 1, 2, 1, 4):
            expected = stage.examples.batch(stage.batches.indices(step))
            assert torch.equal(feed(step).indices, expected.indices)


def test_the_next_batch_is_made_without_being_asked_for(stage: Described) -> None:
    """Prevents a reader that only moved the waiting into another thread."""
    with Feed(as_stage(stage), ahead=True) as feed:
        feed(0)
        stage.made.clear()
        assert stage.made.wait(10) or [step for step, _ in stage.asked] == [0, 1]
    assert {name.partition("_")[0] for _, name in stage.asked} == {"feed"}
    assert [step for step, _ in stage.asked] == [0, 1]


def test_nothing_is_read_behind_the_last_step(stage: Described) -> None:
    """Prevents a window of batches that nobody needs, and an error of it."""
    stage.total_steps = 5
    with Feed(as_stage(stage), ahead=True) as feed:
        feed(4)
    assert [step for step, _ in stage.asked] == [4]


def test_an_error_of_the_reader_is_that_of_the_step(stage: Described) -> None:
    """Prevents a training that hangs, or goes on with what it had, when the data cannot be read."""
    with Feed(as_stage(stage), ahead=True) as feed:
        feed(4)
        with pytest.raises(OSError, match="the disk is gone"):
            feed(5)


def test_a_gpu_is_fed_from_page_locked_memory(stage: Described, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents copies that wait for the GPU."""
    pinned: list[torch.Tensor] = []
    keep: Callable[[Any], Any] = lambda tensor: pinned.append(tensor) or tensor  # noqa: E731
    monkeypatch.setattr(torch.Tensor, "pin_memory", keep)
    monkeypatch.setattr(Batch, "to", lambda batch, device: batch)
    stage.device = Device(torch.device("cuda"), torch.float32)
    with Feed(as_stage(stage), ahead=True) as feed:
        feed(4)
    assert len(pinned) == 5

"""Processes wait for each other on the CPU, as long as it takes; messages between GPUs are given up soon."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from hrkd import distributed
from hrkd.data.collate import TokenizedExamples
from hrkd.device import Device
from hrkd.distributed import average_over_ranks, from_main, gather, largest_over_ranks, rank, sum_over_ranks
from hrkd.models import ClassifierOutput
from hrkd.recipe import Recipe
from hrkd.training.connect import connect_teacher
from hrkd.training.scoring import shared_logits
from hrkd.training.teacher_outputs import Wanted
from several_processes import results_of

CPU = Device(torch.device("cpu"), torch.float32)
ADDRESS = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}


@pytest.mark.parametrize("use", ["scoring", "weighing texts"])
def test_who_is_late_is_waited_for_before_a_shared_teacher_runs(
    use: str, make_recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A layer put together between GPUs waits for half an hour, tokenising large data takes longer on some machine."""
    recipe = make_recipe(method={"example_weights": "meta_kd"})
    texts = TokenizedExamples(np.ones(8, np.int32), np.arange(9), np.zeros(8, np.int64), np.zeros(8, np.int64), 0)
    times: dict[str, float] = {}

    def model(*_: object) -> ClassifierOutput:
        times.setdefault("ran", time.monotonic())
        return ClassifierOutput(torch.zeros(8, 2))

    def weigh(*_: object) -> Tensor:
        model()
        return torch.ones(8)

    monkeypatch.setattr("hrkd.training.connect.meta_kd_weights", weigh)
    teacher: Any = Mock(side_effect=model, config=Mock(label_names=("neg", "pos")))

    def work() -> dict[str, float]:
        time.sleep(0.4 * rank())
        times["arrived"] = time.monotonic()
        if use == "scoring":
            shared_logits(teacher, texts, CPU)
        else:
            inputs: Any = Mock(recipe=recipe, teacher=teacher)
            connect_teacher(Mock(wanted=Wanted(())), inputs, Mock(train=texts), CPU)
        return times

    first, late = results_of(work)
    assert first["ran"] >= late["arrived"] > first["arrived"] + 0.2


@pytest.mark.parametrize("gpus", [0, 2])
def test_only_messages_between_gpus_have_a_short_timeout(gpus: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one timeout, a GPU waits six hours for a lost process, or nobody for a cache that is being filled."""
    joined: dict[str, Any] = {}
    monkeypatch.setattr(os, "environ", {**os.environ, "RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", **ADDRESS})
    for name, value in {"is_available": gpus > 0, "device_count": gpus, "set_device": None}.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    monkeypatch.setattr(distributed, "rendezvous", lambda *_, **__: iter([(None, 1, 2)]))
    monkeypatch.setattr(dist, "init_process_group", lambda backend, **options: joined.update({backend: options}))
    monkeypatch.setattr(dist, "new_group", lambda backend, timeout: (backend, timeout))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: None)
    on_gpu: Any = Mock(is_cuda=True)
    with distributed.distributed():
        [(backend, options)] = joined.items()
        waiting = distributed._group_of(torch.ones(1))
        assert distributed._group_of(on_gpu) is None
    assert distributed._group_of(torch.ones(1)) is None
    if gpus:
        assert (backend, options["timeout"]) == ("cpu:gloo,cuda:nccl", distributed.GPU_TIMEOUT)
        assert waiting == ("gloo", distributed.TIMEOUT)
    else:
        assert (backend, options["timeout"], waiting) == ("gloo", distributed.TIMEOUT, None)


def test_everything_on_the_cpu_goes_through_the_patient_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """One call in the other group, and a process that fills a cache is given up after half an hour."""

    def work() -> tuple[list[bool], list[Any]]:
        group = dist.new_group(backend="gloo", timeout=distributed.TIMEOUT)
        monkeypatch.setattr(distributed, "_patient", group)
        patient = []
        for name in ("all_reduce", "broadcast", "all_gather"):
            real = getattr(dist, name)

            def seen(*arguments: Any, real: Any = real, group: Any = None, **options: Any) -> Any:
                patient.append(group is distributed._patient)
                return real(*arguments, group=group, **options)

            monkeypatch.setattr(dist, name, seen)
        own = torch.tensor([float(rank())])
        averages = average_over_ranks([own])
        found = [sum_over_ranks(own), *averages, from_main(own + 5.0), *gather(own)]
        return patient, [*(tensor.item() for tensor in found), largest_over_ranks(rank())]

    for patient, found in results_of(work):
        assert patient == [True] * 5
        assert found == [1.0, 0.5, 5.0, 0.0, 1.0, 1]

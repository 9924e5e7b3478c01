"""Several processes that train as one, started by `torchrun` or `accelerate launch`; usually there is one alone.

Inside :func:`distributed` every function here is a collective: all processes call it, in the same order. Outside, or
without a launcher, each is the identity, so no caller has to ask. Tensors on the CPU go through gloo, those on a GPU
through NCCL; flags and waiting always use the CPU, where a process that died is noticed at once.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from hrkd.errors import DistributedError, HrkdError, first_line

JOIN_TIMEOUT = timedelta(minutes=10)
"""How long the first process waits for the last one to start."""
TIMEOUT = timedelta(hours=6)
"""How long a process waits for another that is alive: the main one may fill a cache of the teacher's answers."""
GPU_TIMEOUT = timedelta(minutes=30)
"""How long a message between GPUs may take. All have met on the CPU shortly before, so one that is not there is gone;
NCCL does not notice that by itself."""
BUCKET_VALUES = 8_000_000
"""Gradients travel in buckets of about this many values (32 MB): few messages, little extra memory."""


class _Launch(NamedTuple):
    """What a launcher says about this process."""

    rank: int
    world_size: int
    local_rank: int


@contextmanager
def distributed() -> Iterator[None]:
    """Join the other processes of a launcher for the length of the block; do nothing without one.

    Each process takes the GPU of its number on the machine. A group that the caller has made already is used as it is.

    Raises:
        DistributedError: The launcher's variables contradict each other, there are fewer GPUs than processes, or the
            others cannot be reached, or not any more.
    """
    launch = _read_launch(os.environ)
    if launch is None or dist.is_initialized():
        yield
        return
    _join(launch)
    try:
        yield
    except HrkdError as error:
        if not is_main():  # all write to one terminal
            error.message = f"process {rank()}: {error.message}"
        raise
    except RuntimeError as error:
        if not _is_from_a_message(error):
            raise
        raise _lost_the_others(error) from error
    finally:
        _leave()


def rank() -> int:
    """Number of this process among all, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this is the process that writes and speaks."""
    return rank() == 0


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes, through which gradients flow.

    All processes must go on with equal numbers from here to the same scalar. Then each one's gradient is the number of
    processes times the part of its own texts, and :func:`average_gradients` gives the gradient of the whole batch.
    """
    if world_size() == 1:
        return tensor
    total: Tensor = _Sum.apply(tensor)  # type: ignore[no-untyped-call]
    return total


def average_over_ranks(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the means of tensors over all processes, without gradients."""
    if world_size() == 1:
        return list(tensors)
    averages = []
    for bucket in _buckets(tensors):
        flat = torch.cat([tensor.detach().flatten() for tensor in bucket])
        _together(partial(dist.all_reduce, flat, group=_group_of(flat)))
        parts = (flat / world_size()).split([tensor.numel() for tensor in bucket])
        averages += [part.view_as(tensor).to(tensor.dtype) for part, tensor in zip(parts, bucket, strict=True)]
    return averages


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace the gradients of parameters by their means over all processes."""
    trained = [parameter for parameter in parameters if parameter.grad is not None]
    gradients = average_over_ranks([parameter.grad for parameter in trained if parameter.grad is not None])
    for parameter, gradient in zip(trained, gradients, strict=True):
        parameter.grad = gradient


def largest_over_ranks(number: int) -> int:
    """Return the largest of the processes' numbers; 0 and 1 make it an "or"."""
    if world_size() == 1:
        return number
    tensor = torch.tensor([number])
    _together(partial(dist.all_reduce, tensor, op=dist.ReduceOp.MAX, group=_group_of(tensor)))
    return int(tensor.item())


def smallest_over_ranks(number: int) -> int:
    """Return the smallest of the processes' numbers."""
    return -largest_over_ranks(-number)


def from_main(tensor: Tensor) -> Tensor:
    """Return the main process's tensor; the others hand in one of the same shape and type."""
    if world_size() > 1:
        _together(partial(dist.broadcast, tensor, src=0, group=_group_of(tensor)))
    return tensor


def gather(tensor: Tensor) -> list[Tensor]:
    """Return the tensors of all processes, which have one shape, in the order of their ranks."""
    if world_size() == 1:
        return [tensor]
    found = [torch.empty_like(tensor) for _ in range(world_size())]
    _together(partial(dist.all_gather, found, tensor, group=_group_of(tensor)))
    return found


def check_equal(value: str | bytes, what: str, *, hint: str) -> None:
    """Make sure that all processes have the same value.

    Args:
        value: Compared by its hash.
        what: For the message, e.g. "inputs".
        hint: What the user can do.

    Raises:
        DistributedError: They have not; raised by all of them.
    """
    if world_size() == 1:
        return
    content = value.encode() if isinstance(value, str) else value
    found = gather(torch.frombuffer(bytearray(hashlib.sha256(content).digest()), dtype=torch.int64))
    different = [number for number, other in enumerate(found) if not torch.equal(other, found[0])]
    if different:
        raise DistributedError(f"process {different[0]} has other {what} than process 0", hint=hint)


def barrier() -> None:
    """Wait until all processes are here."""
    largest_over_ranks(0)


@contextmanager
def local_main_first() -> Iterator[None]:
    """Let the first process of each machine run the block before the others: it fetches what they then find."""
    first = world_size() == 1 or _local_rank(os.environ) == 0
    if not first:
        barrier()
    yield
    if first:
        barrier()


class _Sum(torch.autograd.Function):
    """All-reduce whose backward needs no messages: equal gradients on all processes add up to a multiple of one."""

    @staticmethod
    def forward(_context: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        _together(partial(dist.all_reduce, total, group=_group_of(total)))
        return total

    @staticmethod
    def backward(_context: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] * world_size()


def _together(operation: Callable[[], object]) -> None:
    """Run a collective; one that fails because another process is gone is an error of the user's, not a bug."""
    try:
        operation()
    except RuntimeError as error:
        raise _lost_the_others(error) from error


def _lost_the_others(error: RuntimeError) -> DistributedError:
    return DistributedError(
        f"process {rank()} of {world_size()} lost the others: {first_line(error)}",
        hint="another process ended first; its message says why",
    )


def _is_from_a_message(error: RuntimeError) -> bool:
    """Whether a collective failed that torch began by itself, as a shared teacher does; gloo has no class for it."""
    return isinstance(error, dist.DistError) or "/gloo/" in str(error)


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    values = 0
    for tensor in tensors:
        if bucket and values + tensor.numel() > BUCKET_VALUES:
            yield bucket
            bucket, values = [], 0
        bucket.append(tensor)
        values += tensor.numel()
    if bucket:
        yield bucket


def _read_launch(environment: Mapping[str, str]) -> _Launch | None:
    """Read the variables that every launcher of torch sets; None where there are none, or there is one process."""
    if "RANK" not in environment or "WORLD_SIZE" not in environment:
        return None
    try:
        launch = _Launch(int(environment["RANK"]), int(environment["WORLD_SIZE"]), _local_rank(environment))
    except ValueError as error:
        raise DistributedError(f"RANK, WORLD_SIZE and LOCAL_RANK must be numbers: {error}", hint=_LAUNCH) from error
    if launch.world_size == 1:
        return None
    if not 0 <= launch.rank < launch.world_size:
        raise DistributedError(f"RANK is {launch.rank}, WORLD_SIZE {launch.world_size}", hint=_LAUNCH)
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in environment]
    if missing:
        raise DistributedError(f"RANK and WORLD_SIZE are set, {' and '.join(missing)} not", hint=_LAUNCH)
    return launch


_LAUNCH = "start with `torchrun --nproc-per-node=N -m hrkd_cli.main ...`, or unset RANK and WORLD_SIZE for one process"


def _local_rank(environment: Mapping[str, str]) -> int:
    return int(environment.get("LOCAL_RANK", environment.get("RANK", "0")))


_patient: dist.ProcessGroup | None = None  # for tensors on the CPU, where those of GPUs have a timeout of their own


def _group_of(tensor: Tensor) -> dist.ProcessGroup | None:
    """Return the group with the timeout of a tensor's device; None is the one that joined."""
    return None if tensor.is_cuda else _patient


def _join(launch: _Launch) -> None:
    global _patient
    backend, timeout = "gloo", TIMEOUT
    if torch.cuda.is_available():
        backend, timeout = "cpu:gloo,cuda:nccl", GPU_TIMEOUT  # one for both, therefore the second group
        torch.cuda.set_device(_own_gpu(launch.local_rank, torch.cuda.device_count()))
    try:
        store, number, size = next(rendezvous("env://", timeout=JOIN_TIMEOUT))
        dist.init_process_group(backend, store=store, rank=number, world_size=size, timeout=timeout)
        if timeout != TIMEOUT:
            _patient = dist.new_group(backend="gloo", timeout=TIMEOUT)
    except (RuntimeError, ValueError) as error:
        raise DistributedError(
            f"process {launch.rank} of {launch.world_size} cannot join the others: {first_line(error)}",
            hint="check that all processes were started, and that MASTER_ADDR and MASTER_PORT reach the first one",
        ) from error


def _leave() -> None:
    global _patient
    _patient = None
    dist.destroy_process_group()


def _own_gpu(local_rank: int, gpus: int) -> int:
    """Return the GPU of a process; some launchers show each process its own one only."""
    if local_rank >= gpus > 1:
        raise DistributedError(
            f"process {local_rank} of this machine has no GPU of its own, there are {gpus}",
            hint=f"start at most {gpus} processes on it",
        )
    return local_rank if gpus > 1 else 0

"""One frozen teacher that several processes hold together, because it is too large for the memory of one device.

FSDP2 keeps a part of every tensor in each process and puts a layer together only while it runs. So every forward pass
of the teacher is a message between all processes: they must do the same number of them, in the same order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

from hrkd.distributed import world_size
from hrkd.errors import RecipeError
from hrkd.models import MultiDomainClassifier, PerDomainClassifier, Teacher
from hrkd.models.student import layer_prefix

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh


def check_sharing(teacher: Teacher, *, shared: bool) -> None:
    """Refuse a teacher that cannot be shared, before any work.

    Args:
        teacher: As it was loaded.
        shared: ``training.shard_teacher`` of the recipe.

    Raises:
        RecipeError: It is one classifier per domain: which of them runs follows from a process's own texts.
    """
    if shared and isinstance(teacher, PerDomainClassifier):
        raise RecipeError(
            "`training.shard_teacher` does not go with a teacher of one classifier per domain",
            hint="set `training.shard_teacher: false`",
        )


def place_teacher(teacher: Teacher, device: torch.device, *, shared: bool) -> None:
    """Put a teacher on the device: all of it, or this process's part.

    A shared teacher answers bit for bit as before. Its weights must not be read any more: what needs them whole
    (pruning, copying layers, saving) comes first. It moves layer by layer, so the whole of it is never on the device.

    Args:
        teacher: On the CPU, the same in all processes; not trained any more if it is shared.
        device: Where it will run.
        shared: Whether the processes share it; one process alone has nobody to share with.

    Raises:
        RecipeError: See :func:`check_sharing`.
    """
    check_sharing(teacher, shared=shared)
    if not shared or world_size() == 1:
        teacher.to(device)
        return
    assert isinstance(teacher, MultiDomainClassifier)  # noqa: S101  (the other kind was refused)
    _shard(teacher, device)


def is_shared(teacher: Teacher) -> bool:
    """Whether a teacher's forward pass takes all processes."""
    if world_size() == 1:
        return False
    from torch.distributed.fsdp import FSDPModule

    return isinstance(teacher, FSDPModule)


def _shard(teacher: MultiDomainClassifier, device: torch.device) -> None:
    """Let FSDP2 cut every tensor: layer by layer, then embeddings, then the rest, which is whole for a forward pass.

    The parts stay float32 and autocast chooses the arithmetic, as for a whole teacher: so the answers are the same.
    """
    from torch.distributed.fsdp import fully_shard

    # Before the cut: autocast keeps converted copies of weights that require a gradient.
    teacher.eval().requires_grad_(requires_grad=False)
    mesh = _all_processes(device)
    groups = [*teacher.get_submodule(layer_prefix(teacher).rstrip(".")).children()]
    groups += [part for name, part in teacher.encoder.named_children() if name == "embeddings"]
    for group in (*groups, teacher):
        fully_shard(group, mesh=mesh, reshard_after_forward=True)


def _all_processes(device: torch.device) -> DeviceMesh:
    """Return the group that exists already; `init_device_mesh` might choose a GPU by itself."""
    from torch.distributed.device_mesh import DeviceMesh

    group = dist.group.WORLD
    assert group is not None  # noqa: S101  (there are several processes)
    return DeviceMesh.from_group(group, device.type)

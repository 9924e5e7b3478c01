"""The state of an unfinished training: enough to go on as if nothing had happened. safetensors and JSON, no pickle.

The last states are kept, each with the hashes of its files: when the newest one is damaged, the one before it is used.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from hrkd.artifact import hash_files, new_folder, read_json, verify_files, write_json
from hrkd.distributed import barrier, check_equal, from_main, gather, is_main, rank, world_size
from hrkd.errors import ArtifactError, CheckpointError, first_line
from hrkd.tensors import load_tensors, save_tensors
from hrkd.training.graph_history import GraphHistory

TENSORS = "state.safetensors"
PROGRESS = "progress.json"
HASHES = "sha256.json"
_PREFIX = "step-"
KEPT = 2
"""States that stay on disk: one can be damaged without loss of more than the steps between two."""


@dataclass(slots=True)
class Progress:
    """Where a training stands.

    Attributes:
        input_hash: Of the stage; a state of another stage's inputs is not used.
        step: Steps done.
        best_score: Best average validation accuracy so far.
        best_step: Step after which it was reached.
        best_domains: Validation accuracy per domain at that step.
        history: ``[step, average]`` of every evaluation.
        graph: The domain ratios so far.
        micro_batches: In how many parts a step's batch is computed, because more did not fit into memory.
        processes: How many began the training: they decide, with the recipe, how many texts a step has.
        devices: Where it ran, and in which number format, one after the other; empty in states of hrkd before this was
            noted.
    """

    input_hash: str
    step: int = 0
    best_score: float = -1.0
    best_step: int = 0
    best_domains: dict[str, float] = field(default_factory=dict)
    history: list[tuple[int, float]] = field(default_factory=list)
    graph: GraphHistory = field(default_factory=GraphHistory)
    micro_batches: int = 1
    processes: int = 1
    devices: list[str] = field(default_factory=list)

    @property
    def device(self) -> str:
        """All devices in one line, for records."""
        return "; then ".join(self.devices)

    def moved_to(self, device: str) -> str | None:
        """Note where the training goes on, and return where it was before if that is known and was another place."""
        before = self.devices[-1] if self.devices else None
        if before == device:
            return None
        self.devices.append(device)
        return before


def save_state(
    folder: Path,
    progress: Progress,
    trainable: nn.Module,
    optimizer: torch.optim.Optimizer,
    best: dict[str, Tensor],
) -> None:
    """Save the present state as ``folder/step-N``, then drop all but the last ones: one is whole at any moment.

    The main process writes, the others hand over their random states and wait.

    Raises:
        DistributedError: The processes' models have drifted apart.
    """
    check_same_parameters(trainable)
    random_states = dict(_random_states())
    if is_main():
        _write_state(folder, progress, dict(_named(trainable, optimizer, best)) | random_states)
    barrier()


def _write_state(folder: Path, progress: Progress, tensors: dict[str, Tensor]) -> None:
    own = _state_path(folder, progress.step)
    with new_folder(own, replace=True) as temporary:
        save_tensors(tensors, temporary / TENSORS)
        write_json(temporary / PROGRESS, asdict(progress))
        write_json(temporary / HASHES, hash_files(temporary))
    # A later one was passed over because it is damaged: it must not take the place of one that can be used.
    kept = sorted(path for path in folder.glob(f"{_PREFIX}*") if path.name <= own.name)[-KEPT:]
    for path in folder.iterdir():
        if path not in kept:
            shutil.rmtree(path, ignore_errors=True)


def clear_states(folder: Path) -> None:
    """Remove all states of a stage, by the main process: a training that took none of them makes its own.

    No process reads a state once :func:`find_common_state` has told all that there is none, so none has to wait.
    """
    if is_main():
        shutil.rmtree(folder, ignore_errors=True)


def find_state(folder: Path, input_hash: str, message: Callable[[str], None]) -> Path | None:
    """Return the newest undamaged state saved below ``folder`` for these inputs, or None.

    Args:
        folder: Of the stage.
        input_hash: Of the stage's inputs.
        message: Told about each damaged state that is passed over.
    """
    for path in sorted(folder.glob(f"{_PREFIX}*"), reverse=True):
        try:
            verify_files(path, read_json(path / HASHES))
            found = read_progress(path).input_hash
        except (ArtifactError, AttributeError, KeyError, TypeError) as error:
            message(f"damaged checkpoint {path.name} is passed over: {first_line(error)}")
            continue
        if found == input_hash:
            return path
    return None


def find_common_state(folder: Path, input_hash: str, message: Callable[[str], None]) -> Path | None:
    """Let the main process choose a state as :func:`find_state` does, and return it in all processes."""
    found = find_state(folder, input_hash, message) if is_main() else None
    step = from_main(torch.tensor([-1 if found is None else int(found.name.removeprefix(_PREFIX))])).item()
    return None if step < 0 else _state_path(folder, int(step))


def read_progress(state: Path) -> Progress:
    """Read the progress of a saved state."""
    value = read_json(state / PROGRESS)
    return Progress(**value | {"graph": GraphHistory.restored(value.get("graph"))})


def load_state(state: Path, trainable: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Put a saved state back into place and return the best weights so far.

    Raises:
        CheckpointError: The file is damaged or does not fit.
    """
    hint = "run again with --no-resume to start over"
    tensors = load_tensors(state / TENSORS, hint=hint)
    try:
        trainable.load_state_dict(_under("trainable.", tensors))
    except RuntimeError as error:
        raise CheckpointError(f"training state `{state}` does not fit: {first_line(error)}", hint=hint) from error
    optimizer_state = optimizer.state_dict()
    for name, tensor in _under("optimizer.", tensors).items():
        index, key = name.split(".")
        optimizer_state["state"].setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict(optimizer_state)
    _restore_random_states(tensors)
    return {name: tensor.clone() for name, tensor in _under("best.", tensors).items()}  # not tied to the file


def _named(
    trainable: nn.Module, optimizer: torch.optim.Optimizer, best: dict[str, Tensor]
) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in trainable.state_dict().items():
        yield f"trainable.{name}", tensor
    for index, values in optimizer.state_dict()["state"].items():
        for key, tensor in values.items():
            yield f"optimizer.{index}.{key}", tensor
    for name, tensor in best.items():
        yield f"best.{name}", tensor


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def check_same_parameters(module: nn.Module) -> None:
    """Make sure that all processes hold the same tensors, bit for bit; alone, there is nothing to compare.

    Raises:
        DistributedError: They do not.
    """
    if world_size() == 1:
        return
    digest = hashlib.sha256()
    for tensor in module.state_dict().values():
        digest.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy())
    check_equal(digest.digest(), "parameters", hint="use the same devices and versions in all processes")


def _state_path(folder: Path, step: int) -> Path:
    return folder / f"{_PREFIX}{step:09d}"


def _random_states() -> Iterator[tuple[str, Tensor]]:
    """Yield the named random states of all processes; the main one's has no number."""
    kinds = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        kinds["cuda"] = torch.cuda.get_rng_state()
    for kind, own in kinds.items():
        for number, state in enumerate(gather(own)):
            yield _random_name(kind, number), state


def _restore_random_states(tensors: dict[str, Tensor]) -> None:
    """Put this process's random states back; a process that had none goes on with its own seed."""
    cpu, cuda = (tensors.get(_random_name(kind, rank())) for kind in ("cpu", "cuda"))
    if cpu is not None:
        torch.set_rng_state(cpu)
    if cuda is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(cuda)


def _random_name(kind: str, number: int) -> str:
    return f"random.{kind}.{number}" if number else f"random.{kind}"

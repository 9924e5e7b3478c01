"""The state of an unfinished training: enough to go on as if nothing had happened. safetensors and JSON, no pickle.

The last states are kept, each with the hashes of its files: when the newest one is damaged, the one before it is used.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from hrkd.artifact import hash_files, new_folder, read_json, verify_files, write_json
from hrkd.errors import ArtifactError, CheckpointError, first_line
from hrkd.tensors import load_tensors, save_tensors
from hrkd.training.graph_history import GraphHistory

TENSORS = "state.safetensors"
PROGRESS = "progress.json"
HASHES = "sha256.json"
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
    """

    input_hash: str
    step: int = 0
    best_score: float = -1.0
    best_step: int = 0
    best_domains: dict[str, float] = field(default_factory=dict)
    history: list[tuple[int, float]] = field(default_factory=list)
    graph: GraphHistory = field(default_factory=GraphHistory)


def save_state(
    folder: Path,
    progress: Progress,
    trainable: nn.Module,
    optimizer: torch.optim.Optimizer,
    best: dict[str, Tensor],
) -> None:
    """Save the present state as ``folder/step-N``, then drop all but the last ones: one is whole at any moment."""
    tensors = dict(_named(trainable, optimizer, best))
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    with new_folder(folder / f"step-{progress.step:09d}", replace=True) as temporary:
        save_tensors(tensors, temporary / TENSORS)
        write_json(temporary / PROGRESS, asdict(progress))
        write_json(temporary / HASHES, hash_files(temporary))
    kept = sorted(folder.glob("step-*"))[-KEPT:]
    for path in folder.iterdir():
        if path not in kept:
            shutil.rmtree(path)


def find_state(folder: Path, input_hash: str, message: Callable[[str], None]) -> Path | None:
    """Return the newest undamaged state saved below ``folder`` for these inputs, or None.

    Args:
        folder: Of the stage.
        input_hash: Of the stage's inputs.
        message: Told about each damaged state that is passed over.
    """
    for path in sorted(folder.glob("step-*"), reverse=True):
        try:
            verify_files(path, read_json(path / HASHES))
            found = read_progress(path).input_hash
        except (ArtifactError, AttributeError, KeyError, TypeError) as error:
            message(f"damaged checkpoint {path.name} is passed over: {first_line(error)}")
            continue
        if found == input_hash:
            return path
    return None


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
    torch.set_rng_state(tensors["random.cpu"])
    if "random.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random.cuda"])
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

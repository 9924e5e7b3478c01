"""Around an objective: where the teacher's answers come from, and what trains the graph."""

from __future__ import annotations

from hrkd.artifact import folder_hash
from hrkd.data.batches import DomainBatches
from hrkd.data.collate import Collator
from hrkd.device import Device
from hrkd.distributed import barrier, from_main
from hrkd.recipe import ExampleWeights, GraphVariant, Recipe
from hrkd.run_folder import TEACHER_OUTPUTS
from hrkd.training.example_weights import meta_kd_weights
from hrkd.training.inputs import DistillationInputs
from hrkd.training.objective import DistillationObjective
from hrkd.training.optimization import OuterSchedule
from hrkd.training.prepare import PreparedData
from hrkd.training.teacher_cache import cached_teacher
from hrkd.training.teacher_outputs import LiveTeacher

CACHE = TEACHER_OUTPUTS
"""Folder beside a teacher, shared by all students distilled from it."""
_OUTER_SEED = 1_000_003  # the held-out batches follow another order than the batches of the same step


def connect_teacher(
    objective: DistillationObjective, inputs: DistillationInputs, data: PreparedData, device: Device
) -> None:
    """Let the objective ask the teacher: for every batch, or once for all texts where the recipe says so.

    A student that reads other tokens can only be answered from a cache, which is made from the teacher's own tokens.

    Args:
        objective: Not connected yet.
        inputs: The teacher stands on ``device``.
        data: As the student reads them.
        device: Where to run, and in which number format.
    """
    wanted = objective.wanted
    if wanted is None:
        return
    recipe, teacher, observer = inputs.recipe, inputs.teacher, inputs.observer
    train = data.train
    if recipe.student.own_tokenizer:
        train = Collator(inputs.readers.teacher, teacher.config.max_length).encode(data.dataset.train)
    barrier()  # whoever has tokenised first waits here, not in the first layer of a shared teacher (GPU_TIMEOUT)
    weights = None
    if recipe.method.example_weights is ExampleWeights.META_KD:
        observer.message("weighing the training texts by the teacher's features")
        weights = from_main(meta_kd_weights(teacher, train, device)).to(device.device)
    if not (recipe.student.own_tokenizer or recipe.training.cache_teacher):
        objective.listen(LiveTeacher(teacher, wanted), weights)
        return
    root = inputs.teacher_folder.parent / CACHE
    cache = cached_teacher(teacher, folder_hash(inputs.teacher_folder), wanted, train, device, root, observer)
    objective.listen(cache, weights)


def outer_schedule(objective: DistillationObjective, recipe: Recipe, data: PreparedData) -> OuterSchedule | None:
    """Return how the graph is trained beside the student; None for a graph without training of its own."""
    config = recipe.method.graph
    if config.variant is not GraphVariant.META or objective.imitation is None:
        return None
    num_domains = len(data.dataset.domain_names)
    return OuterSchedule(
        parameters=tuple(objective.graph.parameters()),
        learning_rate=config.learning_rate,
        every=config.update_every,
        batches=DomainBatches(
            data.dataset.train,
            data.train.lengths,
            recipe.training.batch_size,
            num_domains,
            recipe.seed + _OUTER_SEED,
        ),
        update=objective.outer,
    )

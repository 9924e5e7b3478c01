"""The stages of a run, prepared as they would be done and tried: nothing is written into the run folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from hrkd.data.collate import Batch
from hrkd.data.dataset import DomainDataset
from hrkd.data.load import load_dataset
from hrkd.device import Device
from hrkd.distributed import local_main_first
from hrkd.models import Teacher
from hrkd.models.encoder import resolve_base
from hrkd.models.student import build_student
from hrkd.recipe import ExampleWeights, Recipe
from hrkd.run_folder import RunFolder
from hrkd.training.distill import check_teacher, prepare_distillation, student_hash, verified_teacher
from hrkd.training.estimate import Estimate, TimedTeacher, estimate
from hrkd.training.general import STAGE as GENERAL
from hrkd.training.general import general_hash, prepare_general
from hrkd.training.general_texts import general_texts
from hrkd.training.inputs import DistillationInputs, Readers
from hrkd.training.objective import DistillationObjective
from hrkd.training.observer import Observer
from hrkd.training.prepare import PreparedData
from hrkd.training.shared_teacher import check_sharing
from hrkd.training.stage import finished_before
from hrkd.training.teacher import adopted_teacher, prepare_teacher, teacher_hash
from hrkd.training.teacher_cache import cache_bytes
from hrkd.training.teacher_outputs import LiveTeacher, TeacherOutput


class KnownTeacher(NamedTuple):
    """The teacher of a student that is tried.

    Attributes:
        model: Of the right shape.
        folder: Where it comes from, with its tokenizer.
        finished: Whether it is the one that will be imitated; else a model without training stands in for it.
    """

    model: Teacher
    folder: Path
    finished: bool


def dry_run_teacher(
    recipe: Recipe, run: RunFolder, observer: Observer, *, resume: bool = True, overwrite: bool = False
) -> list[Estimate]:
    """Estimate `hrkd teacher`; nothing is left to do where the teacher is finished, or only has to be scored.

    Raises:
        HrkdError: Whatever the command itself would refuse.
    """
    estimates, _ = _teacher(recipe, run, _load(recipe), observer, resume=resume, overwrite=overwrite)
    return estimates


def dry_run_student(
    recipe: Recipe,
    run: RunFolder,
    observer: Observer,
    *,
    teacher: Path | None = None,
    resume: bool = True,
    overwrite: bool = False,
) -> list[Estimate]:
    """Estimate `hrkd distill`: the student, and the task-agnostic stage before it.

    Raises:
        HrkdError: Whatever the command itself would refuse.
    """
    folder = teacher or run.teacher
    known = KnownTeacher(verified_teacher(folder), folder, finished=True)
    return [*_student(recipe, run, _load(recipe), known, observer, resume=resume, overwrite=overwrite)]


def dry_run_all(
    recipe: Recipe, run: RunFolder, observer: Observer, *, resume: bool = True, overwrite: bool = False
) -> list[Estimate]:
    """Estimate the training of `hrkd run`; a teacher that is not there yet is stood in for by one without training.

    Raises:
        HrkdError: Whatever the command itself would refuse.
    """
    dataset = _load(recipe)
    estimates, known = _teacher(recipe, run, dataset, observer, resume=resume, overwrite=overwrite)
    return [*estimates, *_student(recipe, run, dataset, known, observer, resume=resume, overwrite=overwrite)]


def _load(recipe: Recipe) -> DomainDataset:
    with local_main_first():
        return load_dataset(recipe.data)


def _teacher(
    recipe: Recipe, run: RunFolder, dataset: DomainDataset, observer: Observer, *, resume: bool, overwrite: bool
) -> tuple[list[Estimate], KnownTeacher]:
    """Return what is left to do, and the teacher or what stands in for it."""
    input_hash = teacher_hash(recipe, dataset)
    if finished_before(run.teacher, input_hash, observer, overwrite=overwrite) is not None:
        return [], KnownTeacher(verified_teacher(run.teacher), run.teacher, finished=True)
    origin = recipe.teacher.adopt or recipe.teacher.base or ""
    folder = Path(resolve_base(next(iter(origin.values())) if isinstance(origin, dict) else origin))
    if recipe.teacher.adopt is not None:
        return [], KnownTeacher(adopted_teacher(recipe, dataset)[0], folder, finished=False)
    objective, stage, data, _ = prepare_teacher(recipe, run, dataset, input_hash)
    found = estimate(objective, stage, observer, scored_after=_test_share(data), resume=resume)
    return [found], KnownTeacher(objective.model, folder, finished=False)


def _student(
    recipe: Recipe,
    run: RunFolder,
    dataset: DomainDataset,
    known: KnownTeacher,
    observer: Observer,
    *,
    resume: bool,
    overwrite: bool,
) -> Iterator[Estimate]:
    check_teacher(known.model, dataset, known.folder)
    check_sharing(known.model, shared=recipe.training.shard_teacher)
    input_hash = student_hash(recipe, dataset, known.folder) if known.finished else "of a teacher that is not made yet"
    if known.finished and finished_before(run.student, input_hash, observer, overwrite=overwrite) is not None:
        return
    readers = Readers.of(recipe, known.folder)
    inputs = DistillationInputs(recipe, run, dataset, known.model, known.folder, readers, observer, resume, overwrite)
    yield from _general(inputs, finished=known.finished)
    student = build_student(known.model, recipe.student, readers.teacher)
    objective, stage, data = prepare_distillation(inputs, student, input_hash)
    answers = _timed_teacher(objective, inputs, data, stage.device)
    objective.listen(answers)
    yield estimate(objective, stage, observer, answers, scored_after=_test_share(data), resume=resume)


def _test_share(data: PreparedData) -> float:
    """Return how much larger the test split is than the one for validation."""
    return len(data.test.flat_ids) / max(1, len(data.validation.flat_ids))


def _general(inputs: DistillationInputs, *, finished: bool) -> Iterator[Estimate]:
    """Estimate the task-agnostic stage, where the recipe wants one that is not finished."""
    config = inputs.recipe.student.general
    if config is None:
        return
    texts = general_texts(config, inputs.dataset, on_disk=inputs.recipe.data.on_disk)
    input_hash = general_hash(inputs.recipe, texts, inputs.teacher_folder)
    known = finished or inputs.recipe.teacher.base is not None  # else it imitates a teacher that is not made yet
    folder = inputs.run.root / GENERAL
    if not known or finished_before(folder, input_hash, inputs.observer, overwrite=inputs.overwrite) is None:
        prepared = prepare_general(inputs, config, texts, input_hash)
        yield estimate(prepared.objective, prepared.stage, inputs.observer, resume=inputs.resume)


def _timed_teacher(
    objective: DistillationObjective, inputs: DistillationInputs, data: PreparedData, device: Device
) -> TimedTeacher | None:
    """Return what answers the steps that are tried; the cache is not made, only weighed."""
    wanted, recipe, teacher = objective.wanted, inputs.recipe, inputs.teacher
    if wanted is None:
        return None
    answers = ForeignTokens(teacher, wanted) if recipe.student.own_tokenizer else LiveTeacher(teacher, wanted)
    weighs = recipe.method.example_weights is ExampleWeights.META_KD
    if not (recipe.student.own_tokenizer or recipe.training.cache_teacher):
        return TimedTeacher(answers, device, passes_before=int(weighs))
    size = cache_bytes(teacher, wanted, data.train)
    return TimedTeacher(answers, device, passes_before=1 + weighs, cache_bytes=size)


class ForeignTokens(LiveTeacher):
    """Runs the teacher on a student's tokens: as much work as its own, and a meaningless answer."""

    def __call__(self, batch: Batch) -> TeacherOutput:
        """Run the forward pass on ids that the teacher has."""
        last = int(self.model.encoder_config.vocab_size) - 1
        return super().__call__(replace(batch, input_ids=batch.input_ids.clamp(max=last)))

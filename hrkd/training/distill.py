"""Distillation: the student imitates the teacher in every domain, weighted by the domain-relational graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from hrkd import __version__
from hrkd.artifact import StageRecord, folder_hash, hash_of, read_stage, sha256_file, verify_files
from hrkd.bundle import EVAL, EvalExample, parse_eval, write_eval
from hrkd.data.collate import Collator
from hrkd.data.dataset import DomainDataset
from hrkd.data.load import load_dataset
from hrkd.device import Device, choose_device
from hrkd.distributed import is_main, local_main_first
from hrkd.errors import CheckpointError
from hrkd.evaluation import score, to_eval
from hrkd.models import MultiDomainClassifier, Teacher, load_teacher, save_classifier
from hrkd.models.student import build_student
from hrkd.recipe import Recipe
from hrkd.run_folder import RunFolder
from hrkd.training.connect import connect_teacher, outer_schedule
from hrkd.training.general import distil_general
from hrkd.training.inputs import DistillationInputs, Readers
from hrkd.training.loop import run_training
from hrkd.training.objective import DistillationObjective
from hrkd.training.observer import Observer, Observers
from hrkd.training.origins import student_origins
from hrkd.training.prepare import PreparedData, prepare_data, with_unlabelled
from hrkd.training.recompute import recompute_activations
from hrkd.training.scoring import shared_logits
from hrkd.training.shared_teacher import check_sharing, place_teacher
from hrkd.training.stage import finished_before, held_run, observer_of_main, write_stage
from hrkd.training.stage_plan import Stage
from hrkd.training.tensorboard import TensorBoardObserver

STAGE = "student"


def distill(
    recipe: Recipe,
    run: RunFolder,
    *,
    teacher: Path | None = None,
    observer: Observer | None = None,
    resume: bool = True,
    overwrite: bool = False,
) -> StageRecord:
    """Make ``run.student`` from a teacher.

    Args:
        recipe: Sections ``data``, ``student``, ``method`` and ``training`` decide the result.
        run: Where it goes; a finished student of the same inputs is kept as it is.
        teacher: Model folder of the teacher; ``run.teacher`` when left out.
        observer: Told about progress.
        resume: Whether to go on from the last checkpoint of an interrupted distillation.
        overwrite: Whether a student made from other inputs may be replaced.

    Raises:
        CheckpointError: The teacher is missing, damaged, or of other domains or labels than the data.
            Or the student answers with NaN or infinity.
        RecipeError: The student's shape does not fit the teacher, or this teacher cannot be shared.
        ArtifactError: ``run.student`` holds something else and ``overwrite`` is false.
        Interrupted: Stopped by a signal; a checkpoint was written.
    """
    observer = observer_of_main(observer)
    teacher_folder = teacher or run.teacher
    with held_run(run):
        teacher_model = verified_teacher(teacher_folder)
        with local_main_first():
            dataset = load_dataset(recipe.data)
        check_teacher(teacher_model, dataset, teacher_folder)
        check_sharing(teacher_model, shared=recipe.training.shard_teacher)
        input_hash = student_hash(recipe, dataset, teacher_folder)
        record = finished_before(run.student, input_hash, observer, overwrite=overwrite)
        if record is not None:
            return record
        readers = Readers.of(recipe, teacher_folder)
        inputs = DistillationInputs(
            recipe, run, dataset, teacher_model, teacher_folder, readers, observer, resume, overwrite
        )
        return _distill(inputs, _first_student(inputs), input_hash)


class Distillation(NamedTuple):
    """A student that is ready to be trained, but for the teacher's answers."""

    objective: DistillationObjective
    stage: Stage
    data: PreparedData


def prepare_distillation(inputs: DistillationInputs, student: Teacher, input_hash: str) -> Distillation:
    """Put teacher and student on the device, and tokenise the data as the student reads them.

    The student has its first weights already: those of a shared teacher cannot be read any more.
    """
    recipe, teacher = inputs.recipe, inputs.teacher
    torch.manual_seed(recipe.seed)
    device = choose_device(recipe.training.precision)
    objective = DistillationObjective(teacher, student, recipe.method)
    place_teacher(teacher, device.device, shared=recipe.training.shard_teacher)
    objective.trainable.to(device.device)
    if recipe.training.gradient_checkpointing:
        recompute_activations(student, device.device)
    data = prepare_data(with_unlabelled(inputs.dataset), inputs.readers.student, recipe.data.max_length)
    stage = data.stage(STAGE, input_hash, inputs.run, student, recipe.training, device, recipe.seed)
    return Distillation(objective, replace(stage, outer=outer_schedule(objective, recipe, data)), data)


def _first_student(inputs: DistillationInputs) -> Teacher:
    """Build the student with its first weights, after the task-agnostic stage where the recipe wants one."""
    recipe = inputs.recipe
    torch.manual_seed(recipe.seed)
    student = build_student(inputs.teacher, recipe.student, inputs.readers.teacher)
    if recipe.student.general is not None:
        general = distil_general(inputs, recipe.student.general)
        for member in student.modules():
            if isinstance(member, MultiDomainClassifier):
                member.encoder.load_state_dict(general.encoder.state_dict())
    return student


def _distill(inputs: DistillationInputs, student: Teacher, input_hash: str) -> StageRecord:
    recipe, run = inputs.recipe, inputs.run
    objective, stage, data = prepare_distillation(inputs, student, input_hash)
    watched = Observers([inputs.observer, TensorBoardObserver(run.events)] if is_main() else [])
    connect_teacher(objective, inputs, data, stage.device)
    evaluation_texts = _evaluation_texts(inputs)
    progress = run_training(objective, stage, watched, resume=inputs.resume)
    details = {
        "method": recipe.method.model_dump(mode="json"),
        "layer_map": objective.imitation.layer_map if objective.imitation else None,
        "device": progress.device,
        "processes": progress.processes,
        "total_steps": progress.step,
        "best_step": progress.best_step,
        "history": progress.history,
        "validation": progress.best_domains,
        "test": _test_scores(student, data),
    }

    def write(folder: Path) -> Mapping[str, Any]:
        save_classifier(student, inputs.readers.student, folder)
        write_eval(folder, evaluation_texts)
        progress.graph.write(folder, recipe.method.graph.variant, inputs.dataset.domain_names)
        return details

    return write_stage(run, STAGE, input_hash, write, watched)


def _evaluation_texts(inputs: DistillationInputs) -> list[EvalExample]:
    """Return the test split with the teacher's logits, from its folder where they are of the very same examples."""
    dataset, file = inputs.dataset, inputs.teacher_folder / EVAL
    names = (dataset.label_names, dataset.domain_names)
    if file.is_file():
        examples = parse_eval(file, *names)
        unanswered = to_eval(dataset.test, np.empty((len(dataset.test), 0), dtype=np.float32), *names)
        if [replace(example, teacher_logits=()) for example in examples] == unanswered:
            return examples
    inputs.observer.message("scoring the teacher on the test split")
    device = Device(next(inputs.teacher.parameters()).device, torch.float32)
    test = Collator(inputs.readers.teacher, inputs.teacher.config.max_length).encode(dataset.test)
    return to_eval(dataset.test, shared_logits(inputs.teacher, test, device), *names)


def _test_scores(student: Teacher, data: PreparedData) -> dict[str, float]:
    """Score the student in float32; an answer without a number would count as the first label, right or wrong."""
    device = Device(next(student.parameters()).device, torch.float32)
    logits = shared_logits(student, data.test, device)
    unanswered = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if len(unanswered):
        first = data.dataset.domain_names[data.test.domains[unanswered[0]]]
        raise CheckpointError(
            f"the student answers {len(unanswered)} of {len(logits)} test texts with NaN or infinity, "
            f"the first in `{first}`",
            hint="lower `learning_rate`, or use `precision: fp32`; no student was written",
        )
    return score(logits, data.test, data.dataset.domain_names).domains


def verified_teacher(folder: Path) -> Teacher:
    """Load a teacher whose files are those that the stage that made it has recorded."""
    record = read_stage(folder)
    if record is not None:
        verify_files(folder, record.files)
    return load_teacher(folder)


def check_teacher(teacher: Teacher, dataset: DomainDataset, folder: Path) -> None:
    """Refuse a teacher of other domains or labels than the data."""
    for kind, known, found in (
        ("domains", teacher.config.domain_names, dataset.domain_names),
        ("labels", teacher.config.label_names, dataset.label_names),
    ):
        if known != found:
            raise CheckpointError(f"teacher `{folder}` knows the {kind} {list(known)}, the data has {list(found)}")


def student_hash(recipe: Recipe, dataset: DomainDataset, teacher: Path) -> str:
    """Hash everything that decides the student."""
    return hash_of(
        {
            "hrkd": __version__,
            "recipe": recipe.section_hash("data", "student", "method", "training"),
            "data": dataset.fingerprint(),
            "teacher": folder_hash(teacher),
            "texts": _texts_hash(recipe),
            **student_origins(recipe),
        }
    )


def _texts_hash(recipe: Recipe) -> str | None:
    """Identify the file of the task-agnostic stage by content; a missing one is reported where it is read."""
    texts = recipe.student.general.texts if recipe.student.general else None
    path = Path(texts or "").expanduser()
    return sha256_file(path) if texts and path.is_file() else texts

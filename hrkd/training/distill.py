"""Distillation: the student imitates the teacher in every domain, weighted by the domain-relational graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

from hrkd import __version__
from hrkd.artifact import StageRecord, folder_hash, hash_of, read_stage, sha256_file, verify_files
from hrkd.bundle import EVAL, EvalExample, parse_eval, write_eval
from hrkd.data.collate import Collator
from hrkd.data.dataset import DomainDataset
from hrkd.data.load import load_dataset
from hrkd.device import Device, choose_device
from hrkd.errors import CheckpointError
from hrkd.evaluation import predict_logits, score, to_eval
from hrkd.models import MultiDomainClassifier, Teacher, load_teacher, save_classifier
from hrkd.models.student import build_student
from hrkd.recipe import Recipe
from hrkd.run_folder import RunFolder
from hrkd.training.connect import Readers, connect_teacher, outer_schedule
from hrkd.training.general import distil_general
from hrkd.training.loop import run_training
from hrkd.training.objective import DistillationObjective
from hrkd.training.observer import Observer, Observers
from hrkd.training.prepare import PreparedData, prepare_data, with_unlabelled
from hrkd.training.stage import finished_before, write_stage
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
        RecipeError: The student's shape does not fit the teacher.
        ArtifactError: ``run.student`` holds something else and ``overwrite`` is false.
        Interrupted: Stopped by a signal; a checkpoint was written.
    """
    observer = observer or Observer()
    teacher_folder = teacher or run.teacher
    with run.locked():
        _verify(teacher_folder)
        teacher_model = load_teacher(teacher_folder)
        dataset = load_dataset(recipe.data)
        _check_teacher(teacher_model, dataset, teacher_folder)
        input_hash = _input_hash(recipe, dataset, teacher_folder)
        record = finished_before(run.student, input_hash, observer, overwrite=overwrite)
        if record is not None:
            return record
        readers = Readers.of(recipe, teacher_folder)
        student = _first_student(
            recipe, run, dataset, teacher_model, readers, observer, resume=resume, overwrite=overwrite
        )
        return _distill(
            recipe, run, dataset, teacher_model, student, readers, teacher_folder, input_hash, observer, resume=resume
        )


def _first_student(
    recipe: Recipe,
    run: RunFolder,
    dataset: DomainDataset,
    teacher: Teacher,
    readers: Readers,
    observer: Observer,
    *,
    resume: bool,
    overwrite: bool,
) -> Teacher:
    """Build the student with its first weights, after the task-agnostic stage where the recipe wants one."""
    torch.manual_seed(recipe.seed)
    student = build_student(teacher, recipe.student, readers.teacher)
    config = recipe.student.general
    if config is not None:
        general = distil_general(
            recipe, config, run, teacher, dataset, readers.teacher, observer, resume=resume, overwrite=overwrite
        )
        for member in student.modules():
            if isinstance(member, MultiDomainClassifier):
                member.encoder.load_state_dict(general.encoder.state_dict())
    return student


def _distill(
    recipe: Recipe,
    run: RunFolder,
    dataset: DomainDataset,
    teacher: Teacher,
    student: Teacher,
    readers: Readers,
    teacher_folder: Path,
    input_hash: str,
    observer: Observer,
    *,
    resume: bool,
) -> StageRecord:
    torch.manual_seed(recipe.seed)
    device = choose_device(recipe.training.precision)
    objective = DistillationObjective(teacher, student, recipe.method)
    teacher.to(device.device)
    objective.trainable.to(device.device)
    data = prepare_data(with_unlabelled(dataset), readers.student, recipe.data.max_length)
    watched = Observers([observer, TensorBoardObserver(run.events, dataset.domain_names)])
    connect_teacher(objective, teacher, teacher_folder, recipe, data, readers, device, watched)
    evaluation_texts = _evaluation_texts(teacher, teacher_folder, readers.teacher, data, watched)
    stage = data.stage(STAGE, input_hash, run, student, recipe.training, device, recipe.seed)
    stage = replace(stage, outer=outer_schedule(objective, recipe, data))
    progress = run_training(objective, stage, watched, resume=resume)
    details = {
        "method": recipe.method.model_dump(mode="json"),
        "layer_map": objective.imitation.layer_map if objective.imitation else None,
        "device": device.describe(),
        "total_steps": stage.total_steps,
        "best_step": progress.best_step,
        "history": progress.history,
        "validation": progress.best_domains,
        "test": _test_scores(student, data),
    }

    def write(folder: Path) -> Mapping[str, Any]:
        save_classifier(student, readers.student, folder)
        write_eval(folder, evaluation_texts)
        progress.graph.write(folder, recipe.method.graph.variant, dataset.domain_names)
        return details

    return write_stage(run, STAGE, input_hash, write, watched)


def _evaluation_texts(
    teacher: Teacher, folder: Path, tokenizer: PreTrainedTokenizerFast, data: PreparedData, observer: Observer
) -> list[EvalExample]:
    """Return the test split with the teacher's logits, from its folder where they are of the same texts."""
    labels, domains = data.dataset.label_names, data.dataset.domain_names
    if (folder / EVAL).is_file():
        examples = parse_eval(folder / EVAL, labels, domains)
        if tuple(example.text for example in examples) == data.dataset.test.texts:
            return examples
    observer.message("scoring the teacher on the test split")
    device = Device(next(teacher.parameters()).device, torch.float32)
    test = Collator(tokenizer, teacher.config.max_length).encode(data.dataset.test)
    return to_eval(data.dataset.test, predict_logits(teacher, test, device), labels, domains)


def _test_scores(student: Teacher, data: PreparedData) -> dict[str, float]:
    device = Device(next(student.parameters()).device, torch.float32)
    return score(predict_logits(student, data.test, device), data.test, data.dataset.domain_names).domains


def _verify(teacher: Path) -> None:
    """Compare a teacher's files with the record of the stage that made it."""
    record = read_stage(teacher)
    if record is not None:
        verify_files(teacher, record.files)


def _check_teacher(teacher: Teacher, dataset: DomainDataset, folder: Path) -> None:
    for kind, known, found in (
        ("domains", teacher.config.domain_names, dataset.domain_names),
        ("labels", teacher.config.label_names, dataset.label_names),
    ):
        if known != found:
            raise CheckpointError(f"teacher `{folder}` knows the {kind} {list(known)}, the data has {list(found)}")


def _input_hash(recipe: Recipe, dataset: DomainDataset, teacher: Path) -> str:
    return hash_of(
        {
            "hrkd": __version__,
            "recipe": recipe.section_hash("data", "student", "method", "training"),
            "data": dataset.fingerprint(),
            "teacher": folder_hash(teacher),
            "texts": _texts_hash(recipe),
        }
    )


def _texts_hash(recipe: Recipe) -> str | None:
    """Identify the file of the task-agnostic stage by content; a missing one is reported where it is read."""
    texts = recipe.student.general.texts if recipe.student.general else None
    path = Path(texts or "").expanduser()
    return sha256_file(path) if texts and path.is_file() else texts

"""Task-agnostic distillation: before the task, the fresh student imitates the pretrained encoder on plain texts.

TinyBERT's first stage (arXiv 1909.10351, section 3.2), with this project's imitation terms. A student whose weights
were copied or pruned has lost what the missing layers did; texts without labels give it back.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray

from hrkd import __version__
from hrkd.artifact import StageRecord, folder_hash, hash_of
from hrkd.data.batches import DomainBatches
from hrkd.data.collate import Collator, TokenizedExamples
from hrkd.data.dataset import NO_LABEL, Examples
from hrkd.data.stored import Texts, select_texts
from hrkd.device import Device, choose_device
from hrkd.errors import RecipeError
from hrkd.evaluation import EVALUATION_BATCH
from hrkd.losses import hidden_error
from hrkd.metrics import DomainScores
from hrkd.models import ClassifierConfig, MultiDomainClassifier, Teacher, load_classifier, save_classifier
from hrkd.models.encoder import load_encoder
from hrkd.models.student import build_student
from hrkd.recipe import GeneralConfig, HiddenDistance, MethodConfig, Recipe
from hrkd.training.general_texts import general_texts, hash_of_texts
from hrkd.training.inputs import DistillationInputs
from hrkd.training.loop import run_training
from hrkd.training.objective import DistillationObjective
from hrkd.training.origins import student_origins
from hrkd.training.recompute import recompute_activations
from hrkd.training.shared_teacher import place_teacher
from hrkd.training.stage import finished_before, write_stage
from hrkd.training.stage_plan import Stage
from hrkd.training.teacher_outputs import LiveTeacher

STAGE = "general"
HELD_OUT = 1000
"""Texts on which progress is measured; a tenth of the texts where there are fewer than ten times as many."""
METHOD = MethodConfig(hidden=HiddenDistance.NORMALIZED, hidden_weight=1.0, attention_weight=0.0, prediction_weight=0.0)


def distil_general(inputs: DistillationInputs, config: GeneralConfig) -> MultiDomainClassifier:
    """Return a student of the recipe's shape whose encoder imitates the pretrained one; kept in ``run.root/general``.

    What is imitated is `teacher.base`, or the teacher itself where the recipe names none.

    Args:
        inputs: The data set's training texts are used where ``config`` names no file.
        config: ``recipe.student.general``.

    Raises:
        DataError: The file of texts cannot be read, or holds too few.
        RecipeError: The teacher is one classifier per domain and there is no base.
    """
    recipe = inputs.recipe
    texts = general_texts(config, inputs.dataset, on_disk=recipe.data.on_disk)
    input_hash = general_hash(recipe, texts, inputs.teacher_folder)
    folder = inputs.run.root / STAGE
    if finished_before(folder, input_hash, inputs.observer, overwrite=inputs.overwrite) is None:
        _train(inputs, config, texts, input_hash)
    return load_classifier(folder)


def general_hash(recipe: Recipe, texts: Texts, teacher: Path) -> str:
    """Hash everything that decides the encoder; the teacher's folder does where it is imitated itself."""
    return hash_of(
        {
            "hrkd": __version__,
            "recipe": recipe.section_hash("data", "teacher", "student"),
            "texts": hash_of_texts(texts),
            "teacher": folder_hash(teacher) if recipe.teacher.base is None else None,
            **student_origins(recipe),
        }
    )


class GeneralDistillation(NamedTuple):
    """A student that is ready to imitate the pretrained encoder."""

    objective: DistillationObjective
    stage: Stage
    student: MultiDomainClassifier


def prepare_general(
    inputs: DistillationInputs, config: GeneralConfig, texts: Texts, input_hash: str
) -> GeneralDistillation:
    """Put encoder and student on the device, and tokenise the texts."""
    recipe, tokenizer = inputs.recipe, inputs.readers.teacher
    torch.manual_seed(recipe.seed)
    device = choose_device(config.precision)
    teacher = _imitated(recipe, inputs.teacher, inputs.dataset.label_names)
    one_for_all = recipe.student.model_copy(update={"per_domain": False})
    student = cast("MultiDomainClassifier", build_student(teacher, one_for_all, tokenizer))
    objective = DistillationObjective(teacher, student, METHOD)
    place_teacher(teacher, device.device, shared=recipe.training.shard_teacher)
    objective.trainable.to(device.device)
    if config.gradient_checkpointing:
        recompute_activations(student, device.device)
    assert objective.wanted is not None  # noqa: S101  (METHOD imitates)
    objective.listen(LiveTeacher(teacher, objective.wanted))
    held_out, learned = _split(texts)
    collator = Collator(tokenizer, recipe.data.max_length)
    examples, unseen = collator.encode(learned), collator.encode(held_out)
    stage = Stage(
        name=STAGE,
        input_hash=input_hash,
        state_folder=inputs.run.training_state(STAGE),
        domain_names=teacher.config.domain_names,
        examples=examples,
        batches=DomainBatches(learned, examples.lengths, config.batch_size, 1, recipe.seed),
        validate=lambda: mean_correlation(objective, unseen, device),
        config=config,
        device=device,
    )
    return GeneralDistillation(objective, stage, student)


def _train(inputs: DistillationInputs, config: GeneralConfig, texts: Texts, input_hash: str) -> StageRecord:
    objective, stage, student = prepare_general(inputs, config, texts, input_hash)
    progress = run_training(objective, stage, inputs.observer, resume=inputs.resume)

    def write(folder: Path) -> Mapping[str, Any]:
        save_classifier(student, inputs.readers.teacher, folder)
        found = {"history": progress.history, "correlation": progress.best_score}
        return {"texts": len(texts), "device": progress.device, **found}

    return write_stage(inputs.run, STAGE, input_hash, write, inputs.observer)


@torch.no_grad()
def mean_correlation(objective: DistillationObjective, texts: TokenizedExamples, device: Device) -> DomainScores:
    """Return the mean correlation of projected student and teacher states over levels and tokens of unseen texts.

    After a layer norm the mean squared error of two states is 2 - 2 * correlation.
    """
    imitation, outputs = objective.imitation, objective.outputs
    assert imitation is not None and outputs is not None  # noqa: S101, PT018  (METHOD imitates)
    errors, tokens = [], []
    for _, batch in texts.iterate_in_order(EVALUATION_BATCH):
        moved = batch.to(device.device)
        with device.autocast():
            answer = outputs(moved)
            own = objective.model(moved.input_ids, moved.attention_mask, moved.domain_ids, hidden_states=True)
            projected = imitation.project(own.hidden_states)
        pairs = zip(projected, answer.hidden_states, strict=True)
        error = [hidden_error(*pair, moved.attention_mask, 1, normalize=True).item() for pair in pairs]
        errors.append(float(np.mean(error)))
        tokens.append(int(moved.attention_mask.sum()))
    return DomainScores({"general": 1.0 - float(np.average(errors, weights=tokens)) / 2.0})


def _imitated(recipe: Recipe, teacher: Teacher, label_names: tuple[str, ...]) -> MultiDomainClassifier:
    names = ClassifierConfig(("general",), label_names, recipe.data.max_length)
    if recipe.teacher.base is not None:
        encoder = load_encoder(recipe.teacher.base, trust_remote_code=recipe.teacher.trust_remote_code)
        return MultiDomainClassifier(encoder, names)
    if isinstance(teacher, MultiDomainClassifier):
        return MultiDomainClassifier(teacher.encoder, names)
    raise RecipeError(
        "a teacher of one classifier per domain has no encoder that a general student could imitate",
        hint="remove `student.general`",
    )


def _split(texts: Texts) -> tuple[Examples, Examples]:
    """Return the texts that measure progress, and those that are learned from."""
    held_out = min(HELD_OUT, len(texts) // 10)
    places = np.arange(len(texts))
    return _unlabelled(texts, places[:held_out]), _unlabelled(texts, places[held_out:])


def _unlabelled(texts: Texts, places: NDArray[np.int64]) -> Examples:
    nothing = np.zeros(len(places), dtype=np.int64)
    return Examples(select_texts(texts, places), None, nothing + NO_LABEL, nothing)

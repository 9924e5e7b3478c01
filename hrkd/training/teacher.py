"""The multi-domain teacher: one shared encoder, one head per domain, trained on the sum of the K cross-entropies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast

from hrkd import __version__
from hrkd.artifact import StageRecord, hash_of
from hrkd.bundle import write_eval
from hrkd.data.collate import Batch
from hrkd.data.dataset import DomainDataset
from hrkd.data.load import load_dataset
from hrkd.device import Device, choose_device
from hrkd.distributed import is_main, local_main_first
from hrkd.errors import CheckpointError
from hrkd.evaluation import score, to_eval
from hrkd.losses import mean_over_ranks
from hrkd.models import MultiDomainClassifier, Teacher, load_tokenizer, save_classifier
from hrkd.models.adopt import adopt_classifier, adopt_per_domain
from hrkd.models.encoder import load_encoder
from hrkd.precision import at_least_float32
from hrkd.recipe import Precision, Recipe
from hrkd.run_folder import RunFolder
from hrkd.training.loop import run_training
from hrkd.training.observer import Observer, Observers
from hrkd.training.origins import fingerprint
from hrkd.training.prepare import PreparedData, classifier_config, prepare_data
from hrkd.training.recompute import recompute_activations
from hrkd.training.scoring import shared_logits
from hrkd.training.shares import row_counts
from hrkd.training.stage import finished_before, held_run, observer_of_main, write_stage
from hrkd.training.stage_plan import Stage
from hrkd.training.step import StepResult
from hrkd.training.tensorboard import TensorBoardObserver

STAGE = "teacher"


class TeacherObjective:
    """Sum over domains of the mean cross-entropy with the labels (method.md section 1)."""

    def __init__(self, model: MultiDomainClassifier) -> None:
        self.model = model
        self.trainable: nn.Module = model

    def __call__(self, batch: Batch, progress: float) -> StepResult:
        """Classify one domain-balanced batch; nothing changes with ``progress``."""
        logits = self.model(batch.input_ids, batch.attention_mask, batch.domain_ids).logits
        per_example = F.cross_entropy(at_least_float32(logits), batch.labels, reduction="none")
        own = per_example.unflatten(0, (self.model.num_domains, -1)).mean(dim=1)
        (per_domain,) = mean_over_ranks([own], [row_counts(batch.labels, self.model.num_domains)])
        return StepResult(per_domain.sum(), {"cross_entropy": per_domain.mean().detach()})


def train_teacher(
    recipe: Recipe,
    run: RunFolder,
    *,
    observer: Observer | None = None,
    resume: bool = True,
    overwrite: bool = False,
) -> StageRecord:
    """Make ``run.teacher``: train it on a pretrained encoder, or adopt the user's own classifier.

    Args:
        recipe: Sections ``data`` and ``teacher`` decide the result.
        run: Where it goes; a finished teacher of the same inputs is kept as it is.
        observer: Told about progress.
        resume: Whether to go on from the last checkpoint of an interrupted training.
        overwrite: Whether a teacher made from other inputs may be replaced.

    Raises:
        CheckpointError: The base or the adopted classifier is missing or does not fit.
        DataError: The data cannot be used.
        ArtifactError: ``run.teacher`` holds something else and ``overwrite`` is false.
        Interrupted: Stopped by a signal; a checkpoint was written.
    """
    observer = observer_of_main(observer)
    with held_run(run):
        with local_main_first():
            dataset = load_dataset(recipe.data)
        input_hash = teacher_hash(recipe, dataset)
        record = finished_before(run.teacher, input_hash, observer, overwrite=overwrite)
        if record is not None:
            return record
        build = _train if recipe.teacher.adopt is None else _adopt
        return build(recipe, run, dataset, input_hash, observer, resume)


class TeacherTraining(NamedTuple):
    """A teacher that is ready to be trained."""

    objective: TeacherObjective
    stage: Stage
    data: PreparedData
    tokenizer: PreTrainedTokenizerFast


def prepare_teacher(recipe: Recipe, run: RunFolder, dataset: DomainDataset, input_hash: str) -> TeacherTraining:
    """Build the teacher on its pretrained encoder, on the device, and tokenise the data."""
    torch.manual_seed(recipe.seed)
    base = str(recipe.teacher.base)
    config = recipe.teacher.training
    device = choose_device(config.precision)
    tokenizer = load_tokenizer(base)
    encoder = load_encoder(base, trust_remote_code=recipe.teacher.trust_remote_code)
    model = MultiDomainClassifier(encoder, classifier_config(dataset, tokenizer, recipe.data.max_length))
    model.to(device.device)
    if config.gradient_checkpointing:
        recompute_activations(model, device.device)
    data = prepare_data(dataset, tokenizer, recipe.data.max_length)
    stage = data.stage(STAGE, input_hash, run, model, config, device, recipe.seed)
    return TeacherTraining(TeacherObjective(model), stage, data, tokenizer)


def _train(
    recipe: Recipe, run: RunFolder, dataset: DomainDataset, input_hash: str, observer: Observer, resume: bool
) -> StageRecord:
    objective, stage, data, tokenizer = prepare_teacher(recipe, run, dataset, input_hash)
    watched = Observers([observer, TensorBoardObserver(run.events)] if is_main() else [])
    progress = run_training(objective, stage, watched, resume=resume)
    details = {
        "origin": recipe.teacher.base,
        "device": progress.device,
        "processes": progress.processes,
        "best_step": progress.best_step,
        "history": progress.history,
        "validation": progress.best_domains,
    }
    return _write(run, input_hash, objective.model, tokenizer, data, details, watched)


def adopted_teacher(recipe: Recipe, dataset: DomainDataset) -> tuple[Teacher, PreTrainedTokenizerFast]:
    """Load the user's own classifier, or one per domain, and its tokenizer."""
    origin = recipe.teacher.adopt or {}
    tokenizer = load_tokenizer(next(iter(origin.values())) if isinstance(origin, dict) else origin)
    config = classifier_config(dataset, tokenizer, recipe.data.max_length)
    model: Teacher = adopt_per_domain(origin, config) if isinstance(origin, dict) else adopt_classifier(origin, config)
    return model, tokenizer


def _adopt(
    recipe: Recipe, run: RunFolder, dataset: DomainDataset, input_hash: str, observer: Observer, _resume: bool
) -> StageRecord:
    model, tokenizer = adopted_teacher(recipe, dataset)
    device = choose_device(Precision.FP32).device
    model.to(device)
    data = prepare_data(dataset, tokenizer, recipe.data.max_length)
    validation = data.validation_scores(model, Device(device, torch.float32)).domains
    details = {"origin": recipe.teacher.adopt, "adopted": True, "validation": validation}
    return _write(run, input_hash, model, tokenizer, data, details, observer)


def _write(
    run: RunFolder,
    input_hash: str,
    model: Teacher,
    tokenizer: PreTrainedTokenizerFast,
    data: PreparedData,
    details: Mapping[str, Any],
    observer: Observer,
) -> StageRecord:
    """Score the teacher in float32 and write its folder; the logits on the test split travel to the student."""
    device = Device(next(model.parameters()).device, torch.float32)
    observer.message("scoring the teacher on the test split")
    logits = shared_logits(model, data.test, device)
    if not np.isfinite(logits).all():
        raise CheckpointError(
            f"the teacher ({details['origin']}) answers with NaN or infinity",
            hint="its weights are damaged; check them",
        )
    test = score(logits, data.test, data.dataset.domain_names).domains

    def write(folder: Path) -> Mapping[str, Any]:
        save_classifier(model, tokenizer, folder)
        names = (data.dataset.label_names, data.dataset.domain_names)
        write_eval(folder, to_eval(data.dataset.test, logits, *names))
        return {**details, "test": test}

    return write_stage(run, STAGE, input_hash, write, observer)


def teacher_hash(recipe: Recipe, dataset: DomainDataset) -> str:
    """Hash everything that decides the teacher; fails early when the base does not exist."""
    sources = recipe.teacher.adopt or recipe.teacher.base or ""
    bases = sources.values() if isinstance(sources, dict) else [sources]
    return hash_of(
        {
            "hrkd": __version__,
            "recipe": recipe.section_hash("data", "teacher"),
            "data": replace(dataset, unlabelled=None).fingerprint(),
            "base": [fingerprint(base) for base in bases],
        }
    )

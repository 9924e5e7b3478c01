"""Making one run: the teacher that the methods of a seed share, the student, and how each test text is answered."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrkd.artifact import StageRecord, hash_of
from hrkd.bundle import EVAL, parse_eval
from hrkd.data.collate import Collator
from hrkd.data.dataset import DomainDataset
from hrkd.data.load import load_dataset
from hrkd.device import choose_device
from hrkd.errors import ArtifactError
from hrkd.evaluation import predict_logits
from hrkd.metrics import accuracy
from hrkd.model_folder import GRAPH
from hrkd.models import load_teacher, load_tokenizer
from hrkd.recipe import Precision
from hrkd.run_folder import RunFolder
from hrkd.training import Observer, Observers, distill, train_teacher
from paper.bits import pack
from paper.cost import Meter, metered, settle
from paper.documents import Result, Scores, read_result, result_path, write_document
from paper.facts import fingerprint_of_test
from paper.plan import Job
from paper.provenance import describe_machine, described, described_overrides


@dataclass(frozen=True, slots=True)
class Places:
    """Where runs are made, and where their results go.

    Attributes:
        work: Models and checkpoints; not committed.
        results: The committed JSON.
        commit: Of the code when the process began, and whether it had been changed.
        keep: Whether students' weights stay when their result is written.
    """

    work: Path
    results: Path
    commit: tuple[str | None, bool] = (None, False)
    keep: bool = False

    def run(self, job: Job) -> RunFolder:
        """Return the work folder of a run."""
        return RunFolder(self.work / job.cell / f"seed-{job.seed}" / job.method)

    def result(self, job: Job) -> Path:
        """Return where a run's result stands."""
        return result_path(self.results, job.cell, job.method, job.seed)


def make_teacher(job: Job, places: Places, observer: Observer) -> StageRecord:
    """Train the teacher of a cell and seed, unless it stands, and write its result.

    Raises:
        HrkdError: See :func:`hrkd.training.train_teacher`.
    """
    run = places.run(job)
    with metered(run.root) as meter:
        record = train_teacher(job.recipe, run, observer=Observers([meter, observer]), overwrite=True)
    if not places.result(job).exists() or read_result(places.result(job)).teacher_hash != record.output_hash:
        dataset = load_dataset(job.recipe.data)
        rows = parse_eval(run.teacher / EVAL, dataset.label_names, dataset.domain_names)
        if tuple(row.text for row in rows) != dataset.test.texts:
            raise ArtifactError(f"`{run.teacher / EVAL}` holds other texts than the test split")
        logits = np.array([row.teacher_logits for row in rows], dtype=np.float32)
        _write(job, places, record, record.output_hash, dataset, logits, meter)
    return record


def make_student(job: Job, teacher: Job, places: Places, observer: Observer) -> None:
    """Train the student of a method, score it on every test text and write its result; then drop its weights.

    Raises:
        HrkdError: See :func:`hrkd.training.distill`.
    """
    run, teacher_run = places.run(job), places.run(teacher)
    with metered(run.root) as meter:
        record = distill(
            job.recipe, run, teacher=teacher_run.teacher, observer=Observers([meter, observer]), overwrite=True
        )
    dataset = load_dataset(job.recipe.data)
    logits = _answers(run.student, dataset)
    _write(job, places, record, read_result(places.result(teacher)).teacher_hash, dataset, logits, meter)
    if not places.keep:
        if (run.student / GRAPH).is_file():
            shutil.copy2(run.student / GRAPH, run.root / GRAPH)
        shutil.rmtree(run.student)


def _answers(folder: Path, dataset: DomainDataset) -> NDArray[np.float32]:
    """Return the logits of a model folder on the test split, (n, C), in its order."""
    model = load_teacher(folder)
    device = choose_device(Precision.FP32)
    examples = Collator(load_tokenizer(folder), model.config.max_length).encode(dataset.test)
    return predict_logits(model.to(device.device), examples, device)


def _write(
    job: Job,
    places: Places,
    record: StageRecord,
    teacher_hash: str,
    dataset: DomainDataset,
    logits: NDArray[np.float32],
    meter: Meter,
) -> None:
    correct = logits.argmax(axis=1) == dataset.test.labels
    recipe = described(job.recipe)
    details = record.details
    result = Result(
        dataset=job.dataset,
        fraction=job.fraction,
        method=job.method,
        seed=job.seed,
        overrides=described_overrides(job.overrides),
        recipe=recipe,
        recipe_hash=hash_of(recipe),
        data_fingerprint=dataset.fingerprint(),
        test_fingerprint=fingerprint_of_test(dataset),
        teacher_hash=teacher_hash,
        scores=Scores(
            best_step=details.get("best_step"),
            validation=details["validation"],
            test=_checked(job, correct, dataset, details),
            correct=pack(correct),
        ),
        cost=meter.cost(details.get("total_steps")),
        machine=describe_machine(details.get("device", "unknown")),
        commit=places.commit[0],
        dirty=places.commit[1],
    )
    write_document(places.result(job), result)
    settle(places.run(job).root)


def _checked(
    job: Job, correct: NDArray[np.bool_], dataset: DomainDataset, details: Mapping[str, Any]
) -> dict[str, float]:
    """Return the test accuracy by domain, after a look whether training saw the same."""
    found = accuracy(correct, np.ones_like(correct), dataset.test.domains, dataset.domain_names).domains
    recorded: Mapping[str, float] = details["test"]
    for domain, score in found.items():
        two_texts = 2 / int(np.sum(dataset.test.domains == dataset.domain_names.index(domain)))
        if abs(score - recorded[domain]) > two_texts:
            raise ArtifactError(
                f"{job}: training recorded {recorded[domain]:.4f} on {domain}, the scored answers give {score:.4f}",
                hint="the order of the test texts or the saved weights are wrong; this is a bug",
            )
    return found

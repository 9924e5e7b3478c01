"""Running a classifier over a split, and scoring what came out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hrkd.bundle import EVAL, EvalExample, parse_eval
from hrkd.data.collate import Collator, TokenizedExamples
from hrkd.data.dataset import Examples, Split
from hrkd.data.load import load_dataset
from hrkd.device import Device, choose_device
from hrkd.errors import CheckpointError, DataError
from hrkd.metrics import (
    DomainScores,
    Interval,
    accuracy,
    agreement,
    average_accuracy_interval,
    macro_f1_by_domain,
)
from hrkd.models import Teacher, load_teacher, load_tokenizer
from hrkd.recipe import DataConfig, Precision

EVALUATION_BATCH = 64


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What :func:`evaluate` found.

    Attributes:
        examples: Number of texts.
        accuracy: Per domain.
        macro_f1: Per domain.
        interval: Average accuracy with its 95 % interval.
        agreement_with_teacher: Fraction of equal predictions; None where no teacher logits are known.
    """

    examples: int
    accuracy: DomainScores
    macro_f1: DomainScores
    interval: Interval
    agreement_with_teacher: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "examples": self.examples,
            "accuracy": _scores(self.accuracy),
            "macro_f1": _scores(self.macro_f1),
            "interval": asdict(self.interval),
            "agreement_with_teacher": self.agreement_with_teacher,
        }


@torch.no_grad()
def predict_logits(model: Teacher, examples: TokenizedExamples, device: Device) -> NDArray[np.float32]:
    """Return the logits of every example, (n, C), in the examples' order; the model is left in evaluation mode."""
    model.eval()
    logits = np.empty((len(examples.labels), len(model.config.label_names)), dtype=np.float32)
    for indices, batch in examples.iterate_in_order(EVALUATION_BATCH):
        moved = batch.to(device.device)
        with device.autocast():
            output = model(moved.input_ids, moved.attention_mask, moved.domain_ids)
        logits[indices] = output.logits.float().cpu().numpy()
    return logits


def score(logits: NDArray[np.float32], examples: TokenizedExamples, domain_names: tuple[str, ...]) -> DomainScores:
    """Return the accuracy per domain of logits (n, C)."""
    return accuracy(logits.argmax(axis=1), examples.labels, examples.domains, domain_names)


def evaluate(folder: Path, data: DataConfig | None = None, split: Split = Split.TEST) -> Evaluation:
    """Score a model folder.

    Args:
        folder: Model folder of a teacher or a student.
        data: Data set to score on; the test texts that the folder carries when left out.
        split: Which split of ``data``.

    Raises:
        CheckpointError: The folder is not a model folder.
        DataError: The data's domains or labels are not the model's.
    """
    model = load_teacher(folder)
    config = model.config
    if data is None:
        examples, teacher_logits = _own_examples(folder, model)
    else:
        examples, teacher_logits = _examples_of(data, split, model), None
    device = choose_device(Precision.FP32)
    tokenized = Collator(load_tokenizer(folder), config.max_length).encode(examples)
    predictions = predict_logits(model.to(device.device), tokenized, device).argmax(axis=1)
    names, labels, domains = config.domain_names, examples.labels, examples.domains
    return Evaluation(
        examples=len(examples),
        accuracy=accuracy(predictions, labels, domains, names),
        macro_f1=macro_f1_by_domain(predictions, labels, domains, names, len(config.label_names)),
        interval=average_accuracy_interval(predictions == labels, domains),
        agreement_with_teacher=None if teacher_logits is None else agreement(predictions, teacher_logits.argmax(1)),
    )


def _own_examples(folder: Path, model: Teacher) -> tuple[Examples, NDArray[np.float64]]:
    if not (folder / EVAL).is_file():
        raise CheckpointError(f"`{folder}` has no {EVAL}", hint="give the data with --recipe")
    config = model.config
    rows = parse_eval(folder / EVAL, config.label_names, config.domain_names)
    return from_eval(rows, config.label_names, config.domain_names), np.array([row.teacher_logits for row in rows])


def _examples_of(data: DataConfig, split: Split, model: Teacher) -> Examples:
    dataset = load_dataset(data)
    for kind, found, known in (
        ("domains", dataset.domain_names, model.config.domain_names),
        ("labels", dataset.label_names, model.config.label_names),
    ):
        if tuple(found) != tuple(known):
            raise DataError(f"the data's {kind} {list(found)} are not the model's {list(known)}")
    return dataset.splits[split]


def to_eval(
    examples: Examples, logits: NDArray[np.float32], label_names: tuple[str, ...], domain_names: tuple[str, ...]
) -> list[EvalExample]:
    """Turn a split and its teacher logits (n, C) into the lines of `eval.jsonl`."""
    pairs = examples.text_pairs or (None,) * len(examples)
    return [
        EvalExample(
            text=text,
            text_pair=pair,
            label=label_names[label],
            domain=domain_names[domain],
            teacher_logits=tuple(round(float(value), 6) for value in row),
        )
        for text, pair, label, domain, row in zip(
            examples.texts, pairs, examples.labels, examples.domains, logits, strict=True
        )
    ]


def from_eval(rows: list[EvalExample], label_names: tuple[str, ...], domain_names: tuple[str, ...]) -> Examples:
    """Turn the lines of `eval.jsonl` back into examples."""
    pairs = tuple(row.text_pair or "" for row in rows) if any(row.text_pair is not None for row in rows) else None
    return Examples(
        texts=tuple(row.text for row in rows),
        text_pairs=pairs,
        labels=np.array([label_names.index(row.label) for row in rows], dtype=np.int64),
        domains=np.array([domain_names.index(row.domain) for row in rows], dtype=np.int64),
    )


def _scores(scores: DomainScores) -> dict[str, Any]:
    return {"average": scores.average, "worst": scores.worst, "domains": scores.domains}

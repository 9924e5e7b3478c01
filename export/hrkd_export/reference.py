"""Accuracy of the finished graph on its own evaluation texts: what a device's result is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from hrkd.bundle import MODEL, TOKENIZER, EvalExample, ReferenceMetrics
from hrkd.metrics import accuracy, agreement
from hrkd.models import ClassifierConfig
from hrkd_export.session import open_session, run_session


def measure_reference(folder: Path, examples: Sequence[EvalExample], config: ClassifierConfig) -> ReferenceMetrics:
    """Run the graph over ``examples`` as a runtime does: one text at a time, unpadded, in its own domain.

    Args:
        folder: Holds the graph and the tokenizer file.
        examples: Evaluation texts.
        config: Names of labels and domains, and the longest input.
    """
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    tokenizer.enable_truncation(config.max_length)
    session = open_session(folder / MODEL)
    domain_ids = np.array([config.domain_names.index(example.domain) for example in examples], dtype=np.int64)
    predictions = []
    for example, domain_id in zip(examples, domain_ids, strict=True):
        encoded = tokenizer.encode(example.text, example.text_pair)
        input_ids = np.array([encoded.ids], dtype=np.int64)
        logits = run_session(session, input_ids, np.ones_like(input_ids), domain_id[None])
        predictions.append(int(logits[0].argmax()))
    labels = [config.label_names.index(example.label) for example in examples]
    scores = accuracy(predictions, labels, domain_ids, config.domain_names)
    teacher = [int(np.argmax(example.teacher_logits)) for example in examples]
    return ReferenceMetrics(
        average=scores.average,
        worst=scores.worst,
        domains=scores.domains,
        agreement_with_teacher=agreement(predictions, teacher),
    )

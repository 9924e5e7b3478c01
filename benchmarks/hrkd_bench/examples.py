"""The evaluation texts of a bundle or model folder, and the choice of those that are measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hrkd.bundle import EVAL, EvalExample, parse_eval
from hrkd.errors import BenchError

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class EvaluationTexts:
    """The texts of one `eval.jsonl`, in file order.

    Attributes:
        path: The file.
        examples: Its lines.
        labels: Label ids, shape (n,).
        domains: Domain ids, shape (n,).
        teacher_predictions: The teacher's most probable label ids, shape (n,).
    """

    path: Path
    examples: list[EvalExample]
    labels: Ids
    domains: Ids
    teacher_predictions: Ids


def read_examples(folder: Path, label_names: Sequence[str], domain_names: Sequence[str]) -> EvaluationTexts:
    """Read `eval.jsonl` of a bundle or model folder.

    Raises:
        ArtifactError: It is missing, damaged or empty, or names a label or domain that the model does not know.
    """
    path = folder / EVAL
    examples = parse_eval(path, label_names, domain_names)
    labels = [label_names.index(example.label) for example in examples]
    domains = [domain_names.index(example.domain) for example in examples]
    teacher = np.argmax([example.teacher_logits for example in examples], axis=1)
    return EvaluationTexts(path, examples, np.asarray(labels), np.asarray(domains), teacher)


def choose(texts: EvaluationTexts, most: int | None, seed: int) -> Ids:
    """Return the positions of the texts to measure, in file order: all, or a sample stratified by domain.

    Raises:
        BenchError: ``most`` is smaller than the number of domains.
    """
    present, counts = np.unique(texts.domains, return_counts=True)
    if most is None or most >= len(texts.examples):
        return np.arange(len(texts.examples))
    if most < len(present):
        raise BenchError(f"`bench.max_texts` is {most}, fewer than the {len(present)} domains of `{texts.path}`")
    generator = np.random.default_rng(seed)
    chosen = [
        generator.choice(np.flatnonzero(texts.domains == domain), quota, replace=False)
        for domain, quota in zip(present, _quotas(counts, most), strict=True)
    ]
    return np.sort(np.concatenate(chosen))


def _quotas(counts: Ids, most: int) -> Ids:
    """Divide ``most`` in proportion to ``counts``, at least 1 each, largest remainders first."""
    spare = most - len(counts)
    exact = (counts - 1) * spare / max(1, int((counts - 1).sum()))
    quotas = np.floor(exact).astype(np.int64)
    remaining = spare - int(quotas.sum())
    quotas[np.argsort(quotas - exact, kind="stable")[:remaining]] += 1
    return quotas + 1

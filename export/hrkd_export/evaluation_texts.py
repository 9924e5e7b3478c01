"""The checkpoint's test texts: read, checked, and thinned out to what travels in a bundle."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hrkd.bundle import EVAL, EvalExample, parse_eval
from hrkd.errors import CheckpointError
from hrkd.models import ClassifierConfig

SAMPLING_SEED = 0
"""Fixed: the same checkpoint must give the same bundle."""


def read_checkpoint_examples(checkpoint: Path, config: ClassifierConfig) -> list[EvalExample]:
    """Read a model folder's `eval.jsonl` and check it against the classifier's names.

    Raises:
        CheckpointError: The file is missing, or does not fit the classifier.
        ArtifactError: The file is empty or damaged, or names an unknown label or domain.
    """
    path = checkpoint / EVAL
    if not path.is_file():
        raise CheckpointError(
            f"`{checkpoint}` has no {EVAL}, so the exported model could not be verified",
            hint="`hrkd teacher` and `hrkd distill` write it; make the model again",
        )
    examples = parse_eval(path, config.label_names, config.domain_names)
    for number, example in enumerate(examples, start=1):
        if (example.text_pair is not None) != config.text_pairs:
            expected = "two texts" if config.text_pairs else "one text"
            raise CheckpointError(f"`{path}` example {number}: the model takes {expected}")
    return examples


def sample_examples(examples: Sequence[EvalExample], per_domain: int) -> list[EvalExample]:
    """Keep at most ``per_domain`` examples of each domain, in file order, with the domain's label proportions."""
    generator = np.random.default_rng(SAMPLING_SEED)
    domains: dict[str, list[int]] = defaultdict(list)
    for position, example in enumerate(examples):
        domains[example.domain].append(position)
    kept = [
        position
        for positions in domains.values()
        for position in _stratified(
            positions, [examples[position].label for position in positions], per_domain, generator
        )
    ]
    return [examples[position] for position in sorted(kept)]


def _stratified(positions: list[int], labels: list[str], count: int, generator: np.random.Generator) -> list[int]:
    """Sample ``count`` positions so that every label keeps its share, rounded by largest remainder."""
    if len(positions) <= count:
        return positions
    names, label_ids = np.unique(labels, return_inverse=True)
    shares = np.bincount(label_ids) * count / len(positions)
    quotas = np.floor(shares).astype(int)
    by_remainder = np.argsort(quotas - shares, kind="stable")
    quotas[by_remainder[: count - quotas.sum()]] += 1
    kept: list[int] = []
    for label_id in range(len(names)):
        members = np.flatnonzero(label_ids == label_id)
        kept += [positions[index] for index in generator.permutation(members)[: quotas[label_id]]]
    return kept

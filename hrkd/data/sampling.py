"""Few-shot experiments: a part of each domain's training texts, as the paper's experiment with less data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hrkd.data.dataset import DomainDataset, Split, validate_dataset


def sample_training(dataset: DomainDataset, fraction: float, seed: int) -> DomainDataset:
    """Keep ``fraction`` of the training texts of every label in every domain; validation and test stay whole.

    A smaller fraction of one seed is a subset of a larger one, so that curves over fractions compare like with like.

    Args:
        dataset: Complete.
        fraction: Above 0, at most 1; at least one text of each label and domain stays.
        seed: Another seed keeps other texts.

    Raises:
        DataError: What is left cannot be trained on.
    """
    if fraction == 1.0:
        return dataset
    train = dataset.train
    kept = []
    for domain in range(len(dataset.domain_names)):
        for label in range(len(dataset.label_names)):
            members = np.flatnonzero((train.domains == domain) & (train.labels == label))
            order = np.random.default_rng([seed, domain, label]).permutation(members)
            kept.append(order[: max(1, round(fraction * len(members)))])
    sampled = train.select(np.sort(np.concatenate(kept)))
    smaller = replace(dataset, splits={**dataset.splits, Split.TRAIN: sampled})
    validate_dataset(smaller)
    return smaller

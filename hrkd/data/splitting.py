"""Who is trained on and who is tested: names of splits, and the seeded split for data that comes without one."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from hrkd.data.dataset import Split
from hrkd.errors import DataError

ALIASES = {
    "train": Split.TRAIN,
    "training": Split.TRAIN,
    "validation": Split.VALIDATION,
    "valid": Split.VALIDATION,
    "val": Split.VALIDATION,
    "dev": Split.VALIDATION,
    "development": Split.VALIDATION,
    "test": Split.TEST,
    "testing": Split.TEST,
}


def parse_split(name: str) -> Split | None:
    """Return the split that ``name`` means (``dev`` is validation, upper case is fine), or None."""
    return ALIASES.get(name.strip().lower())


def seeded_split(
    keys: Sequence[str],
    labels: Sequence[str],
    domains: Sequence[str],
    *,
    validation_fraction: float,
    test_fraction: float,
    seed: int,
) -> list[Split]:
    """Split examples at random, the same fractions of every label in every domain.

    Copies of one text stay together: all follow the first, so nothing tested was trained on. A group's result depends
    on its own examples and names only, so that leaving out a domain does not reshuffle the others.

    Args:
        keys: What identifies each text, length n; equal keys are copies.
        labels: Label name of each example.
        domains: Domain name of each example.
        validation_fraction: Part of each group for validation; at least one example where the group has three.
        test_fraction: The same for test.
        seed: Another seed gives another split.

    Raises:
        DataError: The fractions leave nothing to train on.
    """
    if validation_fraction + test_fraction >= 1.0:
        raise DataError(
            f"`data.validation_fraction` {validation_fraction} and `data.test_fraction` {test_fraction} "
            "leave nothing to train on",
            hint="their sum must stay below 1",
        )
    first = {key: index for index, key in reversed(list(enumerate(keys)))}
    groups: dict[tuple[str, str], list[int]] = {}
    for index in sorted(first.values()):
        groups.setdefault((domains[index], labels[index]), []).append(index)
    splits = [Split.TRAIN] * len(keys)
    for (domain, label), members in groups.items():
        generator = np.random.default_rng([seed, zlib.crc32(domain.encode()), zlib.crc32(label.encode())])
        order = generator.permutation(np.asarray(members)).tolist()
        test = min(_share(len(order), test_fraction), len(order) - 1)
        validation = min(_share(len(order), validation_fraction), len(order) - test - 1)
        for index in order[:test]:
            splits[index] = Split.TEST
        for index in order[test : test + validation]:
            splits[index] = Split.VALIDATION
    return [splits[first[key]] for key in keys]


def _share(size: int, fraction: float) -> int:
    if fraction == 0.0 or size < 3:
        return 0
    return max(1, round(size * fraction))

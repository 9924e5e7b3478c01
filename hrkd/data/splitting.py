"""Who is trained on and who is tested: names of splits, and the seeded split for data that comes without one."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

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


_CODES = (Split.TRAIN, Split.VALIDATION, Split.TEST)


def parse_split(name: str) -> Split | None:
    """Return the split that ``name`` means (``dev`` is validation, upper case is fine), or None."""
    return ALIASES.get(name.strip().lower())


def seeded_split(
    keys: NDArray[np.uint64],
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
        keys: What identifies each text, shape (n,); equal keys are copies.
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
    _, first, copies = np.unique(keys, return_index=True, return_inverse=True)
    label_ids, label_names = _coded(labels)
    domain_ids, domain_names = _coded(domains)
    is_first = np.zeros(len(keys), dtype=np.bool_)
    is_first[first] = True
    splits = np.zeros(len(keys), dtype=np.int8)
    for domain, label in itertools.product(range(len(domain_names)), range(len(label_names))):
        members = np.flatnonzero(is_first & (domain_ids == domain) & (label_ids == label))
        if not len(members):
            continue
        names = (domain_names[domain], label_names[label])
        order = np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)]).permutation(members)
        test = min(_share(len(order), test_fraction), len(order) - 1)
        validation = min(_share(len(order), validation_fraction), len(order) - test - 1)
        splits[order[:test]] = _CODES.index(Split.TEST)
        splits[order[test : test + validation]] = _CODES.index(Split.VALIDATION)
    return [_CODES[code] for code in splits[first[copies]]]


def _coded(names: Sequence[str]) -> tuple[NDArray[np.int64], list[str]]:
    """Return the id of each name, shape (n,), and the names."""
    ids: dict[str, int] = {}
    found = (ids.setdefault(name, len(ids)) for name in names)
    return np.fromiter(found, dtype=np.int64, count=len(names)), list(ids)


def _share(size: int, fraction: float) -> int:
    if fraction == 0.0 or size < 3:
        return 0
    return max(1, round(size * fraction))

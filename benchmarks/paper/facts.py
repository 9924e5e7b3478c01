"""From a data set to the facts that the tables need: sizes, domains of the test texts, and which of them leak."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hrkd.artifact import hash_of
from hrkd.data.dataset import DomainDataset, Split
from hrkd.errors import ArtifactError
from paper.bits import pack
from paper.documents import DATASET, DatasetFacts, read_facts, write_document


def dataset_facts(name: str, dataset: DomainDataset) -> DatasetFacts:
    """Describe a data set with all of its training texts."""
    trained = set(dataset.train.keys())
    sizes = {
        split.value: {
            domain: int(np.sum(dataset.splits[split].domains == index))
            for index, domain in enumerate(dataset.domain_names)
        }
        for split in Split
    }
    return DatasetFacts(
        dataset=name,
        fingerprint=dataset.fingerprint(),
        test_fingerprint=fingerprint_of_test(dataset),
        labels=dataset.label_names,
        sizes=sizes,
        test_size=len(dataset.test),
        test_domains={domain: pack(dataset.test.domains == i) for i, domain in enumerate(dataset.domain_names)},
        leaking=pack([key in trained for key in dataset.test.keys()]),  # noqa: SIM118  (no mapping)
    )


def fingerprint_of_test(dataset: DomainDataset) -> str:
    """Return the hash of the test split and its order, which no training fraction or seed may change."""
    test = dataset.test
    names = [dataset.domain_names, dataset.label_names]
    return hash_of([*names, test.texts, test.text_pairs, test.labels.tolist(), test.domains.tolist()])


def keep_facts(results: Path, facts: DatasetFacts) -> None:
    """Write a data set's facts, or check that they are those of the results that stand there.

    Raises:
        ArtifactError: The results were made with other data.
    """
    path = results / facts.dataset / DATASET
    if not path.exists():
        write_document(path, facts)
    elif (known := read_facts(path)).fingerprint != facts.fingerprint:
        raise ArtifactError(
            f"`{path}` describes another version of {facts.dataset} (fingerprint {known.fingerprint[:12]}..., "
            f"now {facts.fingerprint[:12]}...)",
            hint="bring the same data and split, or move the results of the other version away",
        )

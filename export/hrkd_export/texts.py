"""Texts as a graph reads them, and the training and validation texts that an export may need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from hrkd.bundle import EvalExample
from hrkd.data.dataset import DomainDataset, Examples
from hrkd.data.load import load_dataset
from hrkd.errors import ArtifactError, RecipeError
from hrkd.models import ClassifierConfig
from hrkd.recipe import Recipe
from hrkd_export.quantizers.base import Feeds

SAMPLING_SEED = 0
"""Fixed: the same checkpoint must give the same bundle."""


@dataclass(frozen=True, slots=True)
class GraphTexts:
    """Tokenised texts with their labels.

    Attributes:
        token_ids: n lists, special tokens included, none longer than the maximum length.
        labels: Label ids (n,).
        domains: Domain ids (n,).
        domain_names: Name of each domain id.
    """

    token_ids: tuple[list[int], ...]
    labels: NDArray[np.int64]
    domains: NDArray[np.int64]
    domain_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.token_ids)

    @classmethod
    def of_examples(cls, examples: Examples, tokenizer: Tokenizer, names: ClassifierConfig) -> Self:
        """Tokenise a split with a bundle's tokenizer, cut to the model's maximum length."""
        pairs = examples.text_pairs or (None,) * len(examples)
        ids = _encode(tokenizer, zip(examples.texts, pairs, strict=True), names.max_length)
        return cls(ids, examples.labels, examples.domains, names.domain_names)

    @classmethod
    def of_evaluation(cls, examples: Sequence[EvalExample], tokenizer: Tokenizer, names: ClassifierConfig) -> Self:
        """Tokenise a bundle's evaluation texts."""
        return cls(
            _encode(tokenizer, ((example.text, example.text_pair) for example in examples), names.max_length),
            np.array([names.label_names.index(example.label) for example in examples], dtype=np.int64),
            np.array([names.domain_names.index(example.domain) for example in examples], dtype=np.int64),
            names.domain_names,
        )

    def select(self, indices: NDArray[np.int64]) -> Self:
        """Return the texts at ``indices``, (m,), in that order."""
        ids = tuple(self.token_ids[index] for index in indices)
        return type(self)(ids, self.labels[indices], self.domains[indices], self.domain_names)

    def of_domain(self, name: str) -> Self:
        """Return the texts of one domain."""
        return self.select(np.flatnonzero(self.domains == self.domain_names.index(name)))

    def sample(self, per_domain: int) -> Self:
        """Return at most ``per_domain`` texts of each domain, the same ones every time."""
        generator = np.random.default_rng(SAMPLING_SEED)
        kept = [
            generator.permutation(np.flatnonzero(self.domains == domain))[:per_domain]
            for domain in range(len(self.domain_names))
        ]
        return self.select(np.sort(np.concatenate(kept)))

    def feeds(self) -> list[Feeds]:
        """Return the inputs of each text alone, without padding."""
        return [
            {
                "input_ids": np.array([ids], dtype=np.int64),
                "attention_mask": np.ones((1, len(ids)), dtype=np.int64),
                "domain_id": self.domains[index : index + 1],
            }
            for index, ids in enumerate(self.token_ids)
        ]


def load_development(recipe: Recipe | None, names: ClassifierConfig, test: Sequence[EvalExample]) -> DomainDataset:
    """Load the data that a model was made from, for its training and validation texts.

    Args:
        recipe: Of the run that the model stands in.
        names: Of the model.
        test: The model folder's evaluation texts: they show whether the data is still the same.

    Raises:
        RecipeError: There is no recipe.
        ArtifactError: The recipe leads to other texts, labels or domains than the model was made from.
        DataError: The data cannot be loaded.
    """
    if recipe is None:
        raise RecipeError(
            "calibrating, trimming the vocabulary and guarding the accuracy need the texts that the model was made "
            "from, and no recipe stands beside it",
            hint="export from inside the run's folder, or name the recipe with --recipe",
        )
    dataset = load_dataset(recipe.data)
    same_names = (dataset.domain_names, dataset.label_names) == (names.domain_names, names.label_names)
    if not same_names or tuple(example.text for example in test) != dataset.test.texts:
        raise ArtifactError(
            "the recipe's data is not what the model was made from: its test texts, labels or domains differ",
            hint="give the recipe and the data of that run",
        )
    return dataset


def _encode(tokenizer: Tokenizer, texts: Iterable[tuple[str, str | None]], max_length: int) -> tuple[list[int], ...]:
    tokenizer.enable_truncation(max_length)
    return tuple(tokenizer.encode(text, pair).ids for text, pair in texts)

"""From the recipe's data section to a validated data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hrkd.data.dataset import DomainDataset
from hrkd.data.sampling import sample_training
from hrkd.data.sources.amazon import load_amazon
from hrkd.data.sources.files import load_files
from hrkd.data.sources.hub import load_hub, load_multi_nli
from hrkd.data.sources.vader import load_vader
from hrkd.data.unlabelled import load_unlabelled
from hrkd.recipe import DataConfig, DataSource

LOADERS: dict[DataSource, Callable[[DataConfig], DomainDataset]] = {
    DataSource.VADER: load_vader,
    DataSource.AMAZON_REVIEWS: load_amazon,
    DataSource.MULTI_NLI: load_multi_nli,
    DataSource.HUB: load_hub,
    DataSource.FILES: load_files,
}


def load_dataset(config: DataConfig) -> DomainDataset:
    """Load, split, sample and validate the texts that a recipe names.

    Args:
        config: The recipe's ``data`` section.

    Raises:
        DataError: The texts cannot be found, read or used; nothing has been written.
        MissingExtraError: The source needs packages of the ``train`` extra.
    """
    dataset = LOADERS[config.source](config)
    sampled = sample_training(dataset, config.train_fraction, config.sample_seed)
    return replace(sampled, unlabelled=load_unlabelled(config, dataset)) if config.unlabelled_texts else sampled

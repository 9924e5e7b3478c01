"""Recipe section `data`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from hrkd.recipe.base import Fraction, Section


class DataSource(StrEnum):
    """Where the texts come from."""

    VADER = "vader"
    """Four domains of rated sentences from one PyPI source archive."""
    AMAZON_REVIEWS = "amazon_reviews"
    """A folder with one sub-folder per domain holding ``*.review`` files."""
    MULTI_NLI = "multi_nli"
    """Sentence pairs by genre, from the Hub or a local copy."""
    HUB = "hub"
    """Any data set that ``datasets`` can load: a Hub id or a local folder."""
    FILES = "files"
    """CSV, TSV, JSONL or Parquet with a domain column, or a folder with one file per domain."""


class DataConfig(Section):
    """Which texts, how they are labelled, and how they are split."""

    source: DataSource
    path: str | None = None
    """Folder, file or Hub id; ``vader`` needs none."""
    domains: tuple[str, ...] | None = None
    """Keep only these domains, in this order; all of them, sorted by name, when left out."""
    text_column: str = "text"
    text_pair_column: str | None = None
    label_column: str = "label"
    domain_column: str | None = "domain"
    split_column: str | None = None
    split_file: str | None = None
    """CSV with ``domain,label,position,split`` for ``amazon_reviews``; a seeded split when left out."""
    validation_fraction: Fraction = 0.1
    test_fraction: Fraction = 0.2
    split_seed: int = 0
    train_fraction: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Part of each domain's training texts that is used; validation and test stay whole (few-shot experiments)."""
    sample_seed: Annotated[int, Field(ge=0)] = 0
    """Decides which ones."""
    unlabelled_texts: Annotated[str, Field(min_length=1)] | None = None
    """Texts without a label, which the teacher answers and the student learns from as well: a file with a text and a
    domain column, or ``neutral`` for the texts that ``vader`` drops."""
    on_disk: bool = False
    """Whether texts and tokens stay in files that are mapped into memory, for data larger than it (``files`` and
    ``hub``). Results are the same."""
    max_length: Annotated[int, Field(ge=8, le=512)] = 128
    """Longest input in tokens; longer texts are cut."""

    @model_validator(mode="after")
    def _only_files_and_hub_stay_on_disk(self) -> Self:
        if self.on_disk and self.source not in (DataSource.FILES, DataSource.HUB, DataSource.MULTI_NLI):
            raise ValueError(f"`on_disk` is for the sources `files`, `hub` and `multi_nli`; `{self.source}` is small")
        return self

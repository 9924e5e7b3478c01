"""Rated sentences of four kinds: tweets, movie snippets, product-review snippets and news editorials.

Each line is an id, the mean of 20 human ratings between -4 and 4, and the sentence. The task made of it: the sign of
the rating. Ratings within 0.5 of zero are dropped, and so is every repetition of a text, over all domains; the first
stays. HTML entities (``&amp;``) are turned into characters, as a deployed classifier sees them.
"""

from __future__ import annotations

import html
from pathlib import Path

from hrkd.data.dataset import DomainDataset, text_key
from hrkd.data.fetch import VADER, fetch_vader
from hrkd.data.rows import Rows, build_dataset
from hrkd.errors import DataError
from hrkd.recipe import DataConfig

NEUTRAL_RATING = 0.5
"""Largest absolute rating that counts as neither."""


def load_vader(config: DataConfig) -> DomainDataset:
    """Load the four files, fetching them first when they are not in the cache.

    Raises:
        DataError: They cannot be fetched; see :func:`hrkd.data.fetch.fetch_vader`.
    """
    folder = fetch_vader()
    texts: list[str] = []
    labels: list[str] = []
    domains: list[str] = []
    seen: set[int] = set()
    for name in sorted(VADER.members):
        for rating, text in read_ratings(folder / name):
            key = text_key(text)
            if abs(rating) > NEUTRAL_RATING and key not in seen:
                seen.add(key)
                texts.append(text)
                labels.append("positive" if rating > 0 else "negative")
                domains.append(Path(name).stem)
    return build_dataset(Rows(texts, labels, domains), config, f"vader ({VADER.package} {VADER.version})")


def neutral_texts() -> list[tuple[str, str]]:
    """Return domain and text of the ratings that :func:`load_vader` drops.

    Raises:
        DataError: They cannot be fetched.
    """
    folder = fetch_vader()
    return [
        (Path(name).stem, text)
        for name in sorted(VADER.members)
        for rating, text in read_ratings(folder / name)
        if abs(rating) <= NEUTRAL_RATING
    ]


def read_ratings(path: Path) -> list[tuple[float, str]]:
    """Return rating and text of each line of one file.

    Raises:
        DataError: A line has another form.
    """
    ratings = []
    for number, line in enumerate(path.read_text(encoding="utf-8").strip("\n").split("\n"), start=1):
        fields = line.split("\t", 2)
        try:
            rating, text = float(fields[1]), html.unescape(fields[2]).strip()
        except (IndexError, ValueError) as error:
            raise DataError(f"`{path}`, line {number}: not `id TAB rating TAB text`") from error
        ratings.append((rating, text))
    return ratings

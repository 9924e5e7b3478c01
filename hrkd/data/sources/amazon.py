"""Product reviews in one folder per domain, as ``positive.review`` and ``negative.review``.

The files look like XML but are not: characters are not escaped and encodings are mixed, so records are cut out by
their tags and each is decoded by itself, as UTF-8 where that works and as Windows-1252 otherwise. The text is the
review's body without its title; entities stand as they are. Other files (``unlabeled.review``) are left aside.
"""

from __future__ import annotations

import csv
import logging
import re
from dataclasses import replace
from pathlib import Path

from hrkd.data.dataset import DomainDataset, Split
from hrkd.data.rows import Rows, build_dataset
from hrkd.data.splitting import parse_split
from hrkd.data.suggest import suggestion
from hrkd.errors import DataError
from hrkd.recipe import DataConfig

logger = logging.getLogger(__name__)

LABELS = ("negative", "positive")
SPLIT_FILE = "splits.csv"
_RECORD = re.compile(rb"<review>(.*?)</review>", re.DOTALL)
_BODY = re.compile(rb"<review_text>(.*?)</review_text>", re.DOTALL)
_SPLIT_COLUMNS = ("domain", "label", "position", "split")
_MOST_DIGITS = 9  # more are no place in any file, and Python refuses to read thousands

Place = tuple[str, str, int]
"""Domain, label, and 0-based position in that file."""


def load_amazon(config: DataConfig) -> DomainDataset:
    """Load a folder of review files, split by ``data.split_file`` or at random.

    Raises:
        DataError: The folder or a file is missing or damaged, or the split file does not fit the reviews.
    """
    folder = _folder(config)
    wanted = [path.name for path in sorted(folder.iterdir()) if _is_domain(path)]
    if not wanted:
        raise DataError(
            f"`{folder}` holds no sub-folder with positive.review and negative.review",
            hint="give the folder that holds one folder per domain as `data.path`",
        )
    places: list[Place] = []
    texts: list[str] = []
    for domain in wanted:
        for label in LABELS:
            reviews = read_reviews(folder / domain / f"{label}.review")
            places += [(domain, label, position) for position in range(len(reviews))]
            texts += reviews
    rows = Rows(texts, [label for _, label, _ in places], [domain for domain, _, _ in places])
    if config.split_file is not None:
        chosen = read_split_file(_split_path(folder, config.split_file), places)
        rows = replace(rows, splits=[chosen[place] for place in places])
    elif (folder / SPLIT_FILE).is_file():
        logger.warning(
            "`%s` holds %s, which is not used: the split is seeded. Set `data.split_file: %s` to use it",
            folder,
            SPLIT_FILE,
            SPLIT_FILE,
        )
    return build_dataset(rows, config, f"amazon_reviews in `{folder}`")


def read_reviews(path: Path) -> list[str]:
    """Return the bodies of one file's reviews, in order.

    Raises:
        DataError: The file is missing, or a record has no body, an empty one or several.
    """
    if not path.is_file():
        raise DataError(f"`{path}` does not exist", hint="each domain needs positive.review and negative.review")
    content = path.read_bytes()
    reviews = []
    for number, record in enumerate(_RECORD.finditer(content), start=1):
        bodies = _BODY.findall(record.group(1))
        if len(bodies) != 1:
            raise DataError(
                f"`{path}`, {_where(content, record, number)}: {len(bodies)} <review_text> parts instead of one",
                hint="the file is damaged; copy it again or remove the record",
            )
        text = _decode(bodies[0]).strip()
        if not text:
            raise DataError(f"`{path}`, {_where(content, record, number)}: no text", hint="remove the record")
        reviews.append(text)
    if content.count(b"<review>") != len(reviews):
        raise DataError(
            f"`{path}` opens {content.count(b'<review>')} reviews and closes {len(reviews)}",
            hint="the file was cut; copy it again",
        )
    return reviews


def _where(content: bytes, record: re.Match[bytes], number: int) -> str:
    line = content.count(b"\n", 0, record.start()) + 1
    return f"line {line}, review {number}"


def read_split_file(path: Path, places: list[Place]) -> dict[Place, Split]:
    """Return the split of each review.

    Args:
        path: CSV with ``domain,label,position,split``, positions counted from 0 in each file.
        places: The reviews that exist.

    Raises:
        DataError: A column is missing, a line is wrong or names a review twice, or a review is not named.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in _SPLIT_COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(
                    f"`{path}` has no column `{missing[0]}`", hint=suggestion(missing[0], reader.fieldnames or ())
                )
            lines = [(reader.line_num, line) for line in reader]
    except FileNotFoundError as error:
        raise DataError(f"split file `{path}` does not exist", hint="correct `data.split_file`") from error
    except UnicodeDecodeError as error:
        raise DataError(f"split file `{path}` is not UTF-8: {error}") from error
    known = set(places)
    splits: dict[Place, Split] = {}
    for number, line in lines:
        place, split = _parse_line(line, f"`{path}`, line {number}")
        if place not in known or place in splits:
            problem = "names a review that does not exist" if place not in known else "names a review again"
            raise DataError(f"`{path}`, line {number} {problem}: {place[0]}, {place[1]}, position {place[2]}")
        splits[place] = split
    if len(splits) != len(known):
        first = min(known.difference(splits))
        raise DataError(
            f"`{path}` names {len(splits)} of {len(known)} reviews; the first one left out is {first[0]}, "
            f"{first[1]}, position {first[2]}",
            hint="the split file belongs to another copy of the data",
        )
    return splits


def _parse_line(line: dict[str, str], where: str) -> tuple[Place, Split]:
    split = parse_split(line["split"] or "")
    if split is None:
        raise DataError(f"{where}: split is {line['split']!r}", hint="write train, validation or test")
    position = line["position"] or ""
    if not position.isdecimal() or len(position) > _MOST_DIGITS:
        raise DataError(f"{where}: position is {position!r:.40}", hint="write a whole number, counted from 0")
    return (line["domain"], line["label"], int(position)), split


def _folder(config: DataConfig) -> Path:
    if config.path is None:
        raise DataError("`data.path` is missing", hint="give the folder that holds one folder per domain")
    folder = Path(config.path).expanduser()
    if not folder.is_dir():
        raise DataError(f"`{folder}` is not a folder", hint="correct `data.path`; it is relative to the current folder")
    return folder


def _is_domain(path: Path) -> bool:
    return path.is_dir() and any((path / f"{label}.review").exists() for label in LABELS)


def _split_path(folder: Path, name: str) -> Path:
    """Return the split file as named, or beside the reviews when only there."""
    path = Path(name).expanduser()
    return folder / name if not path.exists() and (folder / name).exists() else path


def _decode(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        try:
            return content.decode("cp1252")
        except UnicodeDecodeError:  # cp1252 leaves five bytes undefined, latin-1 none
            return content.decode("latin-1")

"""Any data set that ``datasets`` can load, from the Hub or a folder, and the preset for MultiNLI by genre."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hrkd.data.dataset import DomainDataset, Split
from hrkd.data.row_store import PIECE_ROWS, stored_rows
from hrkd.data.rows import Rows, build_dataset
from hrkd.data.splitting import parse_split
from hrkd.data.table import Table, rows_of
from hrkd.errors import DataError, MissingExtraError, first_line
from hrkd.recipe import DataConfig

logger = logging.getLogger(__name__)

MULTI_NLI_ID = "nyu-mll/multi_nli"
MULTI_NLI_LABELS = ("entailment", "neutral", "contradiction")
MULTI_NLI_COLUMNS = {
    "text_column": "premise",
    "text_pair_column": "hypothesis",
    "label_column": "label",
    "domain_column": "genre",
}


def load_hub(config: DataConfig) -> DomainDataset:
    """Load a Hub id or a folder; a part that is missing is taken out of the training rows by seed.

    Raises:
        DataError: It cannot be found or reached, has no training part, or its columns do not fit.
    """
    if config.path is None:
        raise DataError("`data.path` is missing", hint="give the Hub id, such as `owner/name`, or a folder")
    parts = _load_parts(config.path)
    splits = {name: split for name in parts if (split := parse_split(name)) is not None}
    left_out = sorted(set(parts).difference(splits))
    if left_out:
        logger.info("`%s`: parts left out: %s", config.path, ", ".join(left_out))
    rows = _rows(config, {name: parts[name] for name in splits}, splits)
    return build_dataset(rows, config, f"`{config.path}`", _label_order(parts, config.label_column))


def load_multi_nli(config: DataConfig) -> DomainDataset:
    """Load MultiNLI by genre: the matched validation part is the test, validation is taken out of train by seed.

    The genres are those of the training part (five); columns that the recipe names win over the preset's.

    Raises:
        DataError: As :func:`load_hub`.
    """
    path = config.path if config.path is not None else MULTI_NLI_ID
    preset = {key: name for key, name in MULTI_NLI_COLUMNS.items() if key not in config.model_fields_set}
    config = config.model_copy(update={**preset, "path": path, "split_column": None})
    parts = _load_parts(path)
    test = "validation_matched" if "validation_matched" in parts else "validation"
    if "train" not in parts or test not in parts:
        raise DataError(
            f"`{path}` has the parts {', '.join(parts)}; MultiNLI needs train and validation_matched",
            hint="give a complete copy as `data.path`, or use `source: hub`",
        )
    rows = _rows(config, {name: parts[name] for name in ("train", test)}, {"train": Split.TRAIN, test: Split.TEST})
    rows = replace(rows, labels=[_nli_label(label) for label in rows.labels])
    genres = {domain for domain, split in zip(rows.domains, rows.splits or (), strict=True) if split is Split.TRAIN}
    rows = rows.where(domain in genres for domain in rows.domains)
    return build_dataset(rows, config, f"`{path}`", MULTI_NLI_LABELS)


def _nli_label(label: str) -> str:
    """Return the name of a label that a copy without label names gives as 0, 1 or 2."""
    return MULTI_NLI_LABELS[int(label)] if label in {"0", "1", "2"} else label


def _load_parts(path: str) -> dict[str, Any]:
    """Return the `datasets.Dataset` of each part; never runs code that comes with the data."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        import datasets
        from datasets.exceptions import DatasetsError
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError as error:
        raise MissingExtraError("loading a data set from the Hub", "train") from error
    folder = Path(path).expanduser()
    try:
        if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
            loaded = datasets.load_from_disk(str(folder))
        else:
            loaded = datasets.load_dataset(str(folder) if folder.exists() else path)
    except (OSError, HfHubHTTPError) as error:  # no network is a ConnectionError, an unknown id a FileNotFoundError
        raise DataError(
            f"`{path}` cannot be loaded: {first_line(error)}",
            hint="check the id and the network; without one, copy the data set to a folder and give its path",
        ) from error
    except (ValueError, RuntimeError, DatasetsError) as error:
        raise DataError(
            f"`{path}` cannot be read as a data set: {first_line(error)}",
            hint="save the wanted part as files and use `source: files`",
        ) from error
    return dict(loaded) if isinstance(loaded, Mapping) else {"train": loaded}


def _rows(config: DataConfig, parts: Mapping[str, Any], splits: Mapping[str, Split]) -> Rows:
    if Split.TRAIN not in splits.values():
        raise DataError(f"`{config.path}` has no training part", hint="use `source: files` with a split column")
    given = None if set(splits.values()) == {Split.TRAIN} and config.split_column is not None else splits
    if config.on_disk:
        content = [(part._fingerprint, given and given[name]) for name, part in parts.items()]
        return stored_rows({"hub": content}, config, _pieces(config, parts, given, PIECE_ROWS))
    size = max(part.num_rows for part in parts.values())
    return Rows.join(list(_pieces(config, parts, given, size)), f"`{config.path}`")


def _pieces(
    config: DataConfig, parts: Mapping[str, Any], given: Mapping[str, Split] | None, size: int
) -> Iterator[Rows]:
    """Yield the rows of all parts, ``size`` at a time."""
    for name, part in parts.items():
        for start in range(0, part.num_rows, max(1, size)):
            piece = part.select(range(start, min(start + size, part.num_rows)))
            table = Table(f"`{config.path}` [{name}]", _Columns(piece), range(start + 1, start + piece.num_rows + 1))
            yield rows_of(table, config, split=None if given is None else given[name])


class _Columns(Mapping[str, list[Any]]):
    """The columns of a `datasets.Dataset`, read when asked for, with class ids turned into their names."""

    def __init__(self, part: Any) -> None:
        self._part = part

    def __getitem__(self, name: str) -> list[Any]:
        from datasets import ClassLabel

        if name not in self._part.column_names:
            raise KeyError(name)
        values = list(self._part[name])
        feature = self._part.features[name]
        if not isinstance(feature, ClassLabel):
            return values
        # -1 is how unlabelled rows are marked; an empty name is refused with its row number
        return [feature.names[value] if value is not None and value >= 0 else "" for value in values]

    def __iter__(self) -> Any:
        return iter(self._part.column_names)

    def __len__(self) -> int:
        return len(self._part.column_names)


def _label_order(parts: Mapping[str, Any], column: str) -> tuple[str, ...]:
    features = next(iter(parts.values())).features
    return tuple(getattr(features.get(column), "names", None) or ())

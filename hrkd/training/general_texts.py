"""The plain texts of the task-agnostic stage: lines of a file or the task's own texts, each once, in a seeded order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hrkd.artifact import sha256_file
from hrkd.data.dataset import DomainDataset
from hrkd.data.row_store import PIECE_ROWS, in_pieces, stored_rows
from hrkd.data.rows import Rows
from hrkd.data.stored import Texts, join_texts, select_texts
from hrkd.errors import DataError
from hrkd.recipe import GeneralConfig


def general_texts(config: GeneralConfig, dataset: DomainDataset, *, on_disk: bool = False) -> Texts:
    """Return the texts of the stage in a seeded order, without copies.

    Args:
        config: Names a file with one text per line; the data set's training texts are taken where it names none.
        dataset: The texts of the task.
        on_disk: Whether the lines of the file stay on disk.

    Raises:
        DataError: The file cannot be read, or there are too few.
    """
    if config.texts is None:
        found = join_texts(dataset.train.texts, dataset.train.text_pairs or ())
    else:
        found = _lines_of(Path(config.texts).expanduser(), config.texts, on_disk=on_disk)
    keys = np.fromiter(map(_exact_key, found), dtype=np.uint64, count=len(found))
    present, first = np.unique(keys, return_index=True)
    distinct = np.sort(first[present != _exact_key("")])
    if len(distinct) < 20:
        raise DataError(f"`student.general` has {len(distinct)} texts; it needs at least 20")
    return select_texts(found, np.random.default_rng(0).permutation(distinct))


def _lines_of(path: Path, name: str, *, on_disk: bool) -> Texts:
    def lines() -> Iterator[str]:
        with path.open(encoding="utf-8", newline="") as stream:
            for line in stream:
                yield from line.splitlines()

    try:
        if not on_disk:
            return tuple(lines())
        rows = (Rows(piece, [""] * len(piece), [""] * len(piece)) for piece in in_pieces(lines()))
        return stored_rows({"lines": sha256_file(path)}, None, rows).texts
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"`student.general.texts` {name} cannot be read: {error}") from error


def _exact_key(text: str) -> int:
    """Return 64 bits of a hash over a text; all blank texts have that of the empty one."""
    written = text if text.strip() else ""
    return int.from_bytes(hashlib.blake2b(written.encode(), digest_size=8).digest())


def hash_of_texts(texts: Texts) -> str:
    """Return :func:`hrkd.artifact.hash_of` of a list of them, without ever holding all of it."""
    digest = hashlib.sha256(b"[")
    for start in range(0, len(texts), PIECE_ROWS):
        part = json.dumps(list(texts[start : start + PIECE_ROWS]), ensure_ascii=False, separators=(",", ":"))
        digest.update((b"," if start else b"") + part[1:-1].encode())
    digest.update(b"]")
    return digest.hexdigest()

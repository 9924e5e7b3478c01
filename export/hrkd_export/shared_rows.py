"""Fewer embedding rows than pieces: a piece that training seldom shows shares the row of its nearest neighbour.

The tokenizer stays as it is, so unseen words are not broken up, and every kind of tokenizer will do; the graph holds
one more small table, from piece to row. What a shared row costs was measured beside dropping pieces (docs/log.md).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast

from hrkd.errors import ExportError
from hrkd.models import MultiDomainClassifier

_CHUNK = 2048  # pieces compared with all kept rows at once


class SharedRows(nn.Module):
    """An embedding whose pieces share rows.

    Args:
        table: One row per kept piece, (R, H).
        row_of: Row of every piece, (V,).
    """

    def __init__(self, table: Tensor, row_of: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(table, requires_grad=False)
        self.row_of: Tensor
        self.register_buffer("row_of", row_of.to(torch.int32))  # half the bytes of what torch indexes with

    def forward(self, input_ids: Tensor) -> Tensor:
        """Return (B, T, H) for (B, T)."""
        return F.embedding(self.row_of[input_ids], self.weight)


def share_rows(
    classifier: MultiDomainClassifier, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], rows: int
) -> MultiDomainClassifier:
    """Return a classifier with ``rows`` rows in its word table.

    The pieces that the texts use most keep a row of their own, and so do special tokens; every other one takes the row
    that points in the most similar direction, after the mean of all rows is taken off.

    Args:
        classifier: Stays as it is; returned unchanged where it has no more rows than that.
        tokenizer: Its tokenizer.
        texts: Training texts.
        rows: R.

    Raises:
        ExportError: There are more special tokens than rows.
    """
    table = word_rows(classifier).detach()
    if rows >= len(table):
        return classifier
    counts = np.zeros(len(table), dtype=np.float64)
    for start in range(0, len(texts), _CHUNK):
        encoded = tokenizer(list(texts[start : start + _CHUNK]), add_special_tokens=False)["input_ids"]
        np.add.at(counts, np.concatenate([np.asarray(ids, dtype=np.int64) for ids in encoded]), 1.0)
    special = sorted({*tokenizer.all_special_ids, classifier.config.separator_id, 0})
    if len(special) > rows:
        raise ExportError(f"{rows} rows are too few for {len(special)} special tokens", hint="raise `--max-rows`")
    counts[special] = np.inf
    kept = np.sort(np.argsort(-counts, kind="stable")[:rows])
    shared = copy.deepcopy(classifier)
    shared.encoder.set_input_embeddings(SharedRows(table[kept].clone(), torch.from_numpy(_nearest(table, kept))))
    return shared.eval()


def word_rows(classifier: MultiDomainClassifier) -> Tensor:
    """Return the word embedding's table, (R, H)."""
    return cast("Tensor", classifier.encoder.get_input_embeddings().weight)


def _nearest(table: Tensor, kept: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the position in ``kept`` of every row's nearest kept row, (V,); a kept row is its own."""
    directions = F.normalize(table - table.mean(dim=0), dim=1)
    nearest = torch.cat([(part @ directions[kept].T).argmax(dim=1) for part in directions.split(_CHUNK)]).numpy()
    nearest[kept] = np.arange(len(kept))
    return nearest

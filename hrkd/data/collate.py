"""From texts to padded tensors: every text is tokenised once, every batch padded to its own longest."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hrkd.data.dataset import Examples
from hrkd.data.token_store import stored_tokens
from hrkd.errors import DataError

_CHUNK = 256


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's input. K domains with B examples each in training, any mixture in evaluation.

    Attributes:
        input_ids: Token ids, shape (K*B, T), int64.
        attention_mask: 1 for real tokens and 0 for padding, shape (K*B, T), int64.
        domain_ids: Domain of each row, shape (K*B,), int64.
        labels: Label of each row, -1 where there is none, shape (K*B,), int64.
        indices: Position of each row in its split, shape (K*B,), int64.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    domain_ids: torch.Tensor
    labels: torch.Tensor
    indices: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, rows: torch.Tensor) -> Batch:
        """Return the rows with these numbers, padded as they are."""
        return self._map(lambda column: column[rows])

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on ``device``; the copy does not block when the device allows that."""
        return self._map(lambda column: column.to(device, non_blocking=True))

    def pinned(self) -> Batch:
        """Return the batch in page-locked memory, from which a copy to a GPU does not block."""
        return self._map(torch.Tensor.pin_memory)

    def _map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        columns = (self.input_ids, self.attention_mask, self.domain_ids, self.labels, self.indices)
        return Batch(*map(change, columns))


@dataclass(frozen=True, slots=True)
class TokenizedExamples:
    """All token ids of a split in one array, and what is needed to cut batches out of it.

    Attributes:
        flat_ids: Ids of all examples, one after the other, int32; mapped from a file where the texts are.
        offsets: Where each example starts, and the end of the last, shape (n+1,).
        labels: Shape (n,).
        domains: Shape (n,).
        pad_id: Id that fills short rows.
    """

    flat_ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    labels: NDArray[np.int64]
    domains: NDArray[np.int64]
    pad_id: int

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of tokens of each example, special ones included, shape (n,)."""
        return np.diff(self.offsets)

    def input_ids(self, index: int) -> NDArray[np.int32]:
        """Return the token ids of one example, shape (length,)."""
        return self.flat_ids[self.offsets[index] : self.offsets[index + 1]]

    def batch(self, indices: NDArray[np.int64]) -> Batch:
        """Return the examples at ``indices``, shape (m,), padded on the right to the longest of them."""
        lengths = self.offsets[indices + 1] - self.offsets[indices]
        columns = np.arange(lengths.max(initial=0))
        mask = columns < lengths[:, None]  # (m, T)
        ids = np.full(mask.shape, self.pad_id, dtype=np.int64)
        ids[mask] = self.flat_ids[(self.offsets[indices][:, None] + columns)[mask]]
        return Batch(
            input_ids=torch.from_numpy(ids),
            attention_mask=torch.from_numpy(mask.astype(np.int64)),
            domain_ids=torch.from_numpy(self.domains[indices]),
            labels=torch.from_numpy(self.labels[indices]),
            indices=torch.from_numpy(indices),
        )

    def iterate_in_order(self, batch_size: int) -> Iterator[tuple[NDArray[np.int64], Batch]]:
        """Yield every example once as ``(indices, batch)``, longest first: a batch that is too large fails at once."""
        order = np.argsort(-self.lengths, kind="stable")
        for start in range(0, len(order), batch_size):
            indices = order[start : start + batch_size]
            yield indices, self.batch(indices)


class Collator:
    """A tokenizer with the recipe's length limit.

    Args:
        tokenizer: A `transformers.PreTrainedTokenizerFast`.
        max_length: Longest input in tokens, special ones included; longer texts are cut at the end.

    Raises:
        DataError: The tokenizer has no padding token.
    """

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        if tokenizer.pad_token_id is None:
            raise DataError(
                f"the tokenizer `{tokenizer.name_or_path}` has no padding token",
                hint="set `pad_token` in its tokenizer_config.json",
            )
        self.tokenizer = tokenizer
        self.max_length = max_length

    def encode(self, examples: Examples) -> TokenizedExamples:
        """Tokenise all texts; of a pair, tokens are cut from the longer side. Token types are left to the model.

        Raises:
            DataError: The texts are on disk, and it is full.
        """
        if examples.is_stored:
            flat_ids, offsets = stored_tokens(self._identity(examples), self._encoded(examples))
        else:
            rows = [row for part in self._encoded(examples) for row in part]
            flat_ids = np.concatenate([*rows, np.zeros(0, dtype=np.int32)])
            offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
        return TokenizedExamples(flat_ids, offsets, examples.labels, examples.domains, int(self.tokenizer.pad_token_id))

    def _encoded(self, examples: Examples) -> Iterator[list[NDArray[np.int32]]]:
        """Yield the ids of some examples at a time."""
        for start in range(0, len(examples), _CHUNK):
            texts = list(examples.texts[start : start + _CHUNK])
            pairs = None if examples.text_pairs is None else list(examples.text_pairs[start : start + _CHUNK])
            ids = self.tokenizer(
                texts,
                pairs,
                truncation=True,
                max_length=self.max_length,
                padding=False,
                return_attention_mask=False,
                return_token_type_ids=False,
            )["input_ids"]
            yield [np.asarray(row, dtype=np.int32) for row in ids]

    def _identity(self, examples: Examples) -> dict[str, Any]:
        """Return what decides the ids; how the tokenizer was last told to cut and pad does not."""
        backend = json.loads(self.tokenizer.backend_tokenizer.to_str())
        parts = {name: value for name, value in backend.items() if name not in ("truncation", "padding")}
        sides = (self.tokenizer.truncation_side, self.max_length)
        return {"texts": examples.text_hash(), "tokenizer": parts, "cut": sides}

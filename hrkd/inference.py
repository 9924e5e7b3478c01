"""A model folder behind the interface of the edge runtime, so that teacher and bundle are measured the same way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from hrkd.bundle import TOKENIZER
from hrkd.errors import CheckpointError, first_line
from hrkd.model_folder import CLASSIFIER, WEIGHTS
from hrkd.models import Teacher, load_teacher

FILES_TO_RUN = (WEIGHTS, "config.json", CLASSIFIER, TOKENIZER)


class TorchClassifier:
    """Classifies in PyTorch, float32, on the CPU: the baseline that the bundle is compared with.

    Attributes:
        domain_names: Name of each domain id.
        label_names: Name of each label id.
        size_bytes: Bytes on disk that are needed to run the model.
    """

    def __init__(self, model: Teacher, tokenizer: Tokenizer, size_bytes: int) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.size_bytes = size_bytes
        self.domain_names = model.config.domain_names
        self.label_names = model.config.label_names

    @classmethod
    def load(cls, path: Path | str, *, threads: int | None = None) -> Self:
        """Load a model folder; ``threads`` sets torch's threads for the whole process.

        Raises:
            CheckpointError: The folder is not a model folder, or it is damaged.
        """
        folder = Path(path)
        if threads is not None:
            torch.set_num_threads(threads)
        model = load_teacher(folder)
        tokenizer = _load_tokenizer(folder / TOKENIZER)
        tokenizer.no_padding()
        tokenizer.enable_truncation(model.config.max_length)
        files = [path for path in folder.rglob("*") if path.name in FILES_TO_RUN]
        return cls(model, tokenizer, sum(path.stat().st_size for path in files))

    def tokenize(self, text: str, text_pair: str | None = None) -> NDArray[np.int64]:
        """Return the token ids of one text or pair, (T,)."""
        return np.array(self.tokenizer.encode(text, text_pair).ids, dtype=np.int64)

    def run(self, encoded: NDArray[np.int64], domain_id: int) -> NDArray[np.float32]:
        """Return the logits (C,) of one tokenised text, unpadded."""
        logits: NDArray[np.float32] = self.run_batch([encoded], [domain_id])[0]
        return logits

    @torch.inference_mode()
    def run_batch(self, encoded: Sequence[NDArray[np.int64]], domain_ids: Sequence[int]) -> NDArray[np.float32]:
        """Return the logits (n, C) of several tokenised texts, padded to the longest."""
        ids = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(row) for row in encoded], batch_first=True)
        lengths = torch.tensor([len(row) for row in encoded])
        mask = (torch.arange(ids.shape[1]) < lengths.unsqueeze(1)).long()
        output: Tensor = self.model(ids, mask, torch.tensor(domain_ids)).logits
        logits: NDArray[np.float32] = output.numpy()
        return logits


def _load_tokenizer(path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more precise
        raise CheckpointError(f"`{path}` cannot be read: {first_line(error)}", hint="make the model again") from error

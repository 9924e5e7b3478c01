"""The engines that can be measured, by name. Their classes are named as text and resolved where they run."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from hrkd.errors import BenchError, MissingExtraError


class MeasuredClassifier(Protocol):
    """What the measurement needs of an engine's class.

    What `tokenize` returns is opaque, but its ``len()`` is the number of tokens.
    """

    @classmethod
    def load(cls, path: Path, *, threads: int) -> Self:
        """Load a model so that one answer uses ``threads`` threads."""
        ...

    @property
    def domain_names(self) -> Sequence[str]:
        """Name of each domain id."""
        ...

    @property
    def label_names(self) -> Sequence[str]:
        """Name of each label id."""
        ...

    @property
    def size_bytes(self) -> int:
        """Bytes on disk that running needs."""
        ...

    def tokenize(self, text: str, text_pair: str | None = None) -> Any:
        """Turn one input into what `run` takes."""
        ...

    def run(self, encoded: Any, domain_id: int) -> NDArray[np.float32]:
        """Return logits (C,) for one input, without padding."""
        ...

    def run_batch(self, encodeds: Sequence[Any], domain_ids: Sequence[int]) -> NDArray[np.float32]:
        """Return logits (n, C)."""
        ...


@dataclass(frozen=True, slots=True)
class Engine:
    """One way to run a model.

    Attributes:
        classifier: ``module:Class`` of a :class:`MeasuredClassifier`.
        libraries: Packages that the class imports; their import is timed on its own.
        extra: Extra that installs them.
    """

    classifier: str
    libraries: tuple[str, ...]
    extra: str


ENGINES: dict[str, Engine] = {
    "onnxruntime": Engine("hrkd_bench.runtime:Classifier", ("numpy", "tokenizers", "onnxruntime"), "edge"),
    "openvino": Engine("hrkd_bench.runtime:Classifier", ("numpy", "tokenizers", "openvino"), "openvino"),
    "pytorch": Engine("hrkd.inference:TorchClassifier", ("numpy", "torch", "transformers"), "train"),
}


def require_engine(name: str) -> Engine:
    """Return an engine whose libraries are installed, without importing them.

    Raises:
        BenchError: There is no such engine.
        MissingExtraError: Its libraries are not installed.
    """
    if name not in ENGINES:
        raise BenchError(f"engine `{name}` is unknown", hint=f"known engines: {', '.join(ENGINES)}")
    engine = ENGINES[name]
    if any(importlib.util.find_spec(library) is None for library in engine.libraries):
        raise MissingExtraError(f"measuring a model with {name}", engine.extra)
    return engine


def resolve(classifier: str) -> type[MeasuredClassifier]:
    """Import the class named ``module:Class``."""
    module, _, name = classifier.partition(":")
    found: type[MeasuredClassifier] = getattr(importlib.import_module(module), name)
    return found

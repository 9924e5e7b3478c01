"""What every quantiser takes and gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hrkd.recipe import QuantizationBackend
from hrkd_export.target import Target

Feeds = Mapping[str, NDArray[np.int64]]
"""Inputs of one text: input_ids (1, T), attention_mask (1, T), domain_id (1,)."""


@dataclass(frozen=True, slots=True)
class Task:
    """A graph to quantise.

    Attributes:
        source: Plain fp32 graph of :mod:`hrkd_export.to_onnx`.
        target: What it is made for.
        backend: Library of the dynamic and static quantisations; not ``auto``.
        calibration: Training texts, unpadded; empty where the quantiser needs none.
        kept_in_float: Names of nodes of ``source`` that must not be quantised.
        heads: Attention heads of the encoder.
        hidden_size: Width of the encoder.
    """

    source: Path
    target: Target
    backend: QuantizationBackend
    calibration: Sequence[Feeds] = ()
    kept_in_float: frozenset[str] = frozenset()
    heads: int = 0
    hidden_size: int = 0


@dataclass(frozen=True, slots=True)
class Made:
    """What became of a graph.

    Attributes:
        fusions: Operators fused offline, by type; empty for a plain graph.
        notes: What did not go as wished, one sentence each.
    """

    fusions: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


Quantizer = Callable[[Task, Path], Made]

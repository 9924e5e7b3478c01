"""The contract of a graph: its inputs, its output, and what an engine can do with it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from hrkd.errors import ArtifactError

IntArray = NDArray[np.int64]
Logits = NDArray[np.float32]
Setting = int | bool | str
Engine = Literal["onnxruntime", "openvino"]

INPUTS = ("input_ids", "attention_mask", "domain_id")
OUTPUT = "logits"


class Graph(Protocol):
    """A loaded graph."""

    def run(self, input_ids: IntArray, attention_mask: IntArray, domain_ids: IntArray) -> Logits:
        """Return the logits (B, C) for (B, T), (B, T) and (B,)."""
        ...


def check_contract(model: Path, inputs: list[str], outputs: list[str]) -> None:
    """Refuse a graph that is not a bundle's.

    Raises:
        ArtifactError: Inputs or output have other names.
    """
    if sorted(inputs) != sorted(INPUTS) or outputs != [OUTPUT]:
        raise ArtifactError(
            f"`{model}` maps {sorted(inputs)} to {outputs}, a bundle maps {sorted(INPUTS)} to ['{OUTPUT}']",
            hint="export the bundle again",
        )


def whole_number(name: str, value: Setting) -> int:
    """Read a number that a manifest may also carry as text or as a truth value.

    Raises:
        ArtifactError: The value is no whole number.
    """
    try:
        return int(value)
    except ValueError as error:
        raise ArtifactError(
            f"session setting `{name}: {value}` of the manifest is no whole number", hint="export the bundle again"
        ) from error


def unknown_setting(name: str, value: Setting) -> ArtifactError:
    """Return the error for a setting that this version does not know."""
    return ArtifactError(f"session setting `{name}: {value}` of the manifest is unknown", hint="upgrade hrkd")

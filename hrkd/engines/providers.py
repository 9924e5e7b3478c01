"""What onnxruntime runs a graph on: the first of the bundle's execution providers that this installation has."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from hrkd.engines.base import Setting
from hrkd.errors import ArtifactError

Provider = Literal["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
"""A manifest is data from elsewhere, and some of onnxruntime's other providers load libraries by path."""
CPU: Provider = "CPUExecutionProvider"
SETTING = "providers"


def wanted_providers(settings: Mapping[str, Setting]) -> list[str]:
    """Return the providers of a manifest's settings, best first; the processor alone where it names none.

    Raises:
        ArtifactError: One is unknown.
    """
    names = str(settings.get(SETTING, CPU)).split(",")
    unknown = [name for name in names if name not in get_args(Provider)]
    if unknown:
        raise ArtifactError(
            f"session setting `{SETTING}` of the manifest names `{unknown[0]}`, which is unknown", hint="upgrade hrkd"
        )
    return names


def installed_providers(wanted: Sequence[str], available: Sequence[str]) -> list[str]:
    """Return those of ``wanted`` that this onnxruntime was built with, and the processor at the end."""
    return list(dict.fromkeys([*(name for name in wanted if name in available), CPU]))


def warn_of_fallback(wanted: Sequence[str], running: Sequence[str]) -> None:
    """Say so when a graph runs on less than it was made for: onnxruntime falls back to the processor in silence."""
    if running[0] != wanted[0]:
        warnings.warn(
            f"this bundle was made for {wanted[0]}, but runs on {running[0]} here: `pip install onnxruntime-gpu` "
            "and a driver that fits bring the former",
            stacklevel=2,
        )

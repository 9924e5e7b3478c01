"""What computes: PyTorch's device, and the providers of onnxruntime that really load."""

from __future__ import annotations

import os
from collections.abc import Iterator

from hrkd.errors import first_line
from hrkd_cli.doctor.finding import Finding
from hrkd_cli.extras import is_installed

# An ONNX graph that returns its input (operator set 13): devices have no package to make one with.
_IDENTITY = bytes.fromhex(
    "08073a370a100a017812017922084964656e746974791201675a0f0a0178120a0a08080112040a020801"
    "620f0a0179120a0a08080112040a02080142040a00100d"
)
_ELSEWHERE = ("AzureExecutionProvider",)
"""Sends texts to a service; hrkd never uses it."""


def findings() -> Iterator[Finding]:
    """Yield what computes here; tried, because what is listed often does not load."""
    if is_installed("torch"):
        yield _torch()
    if is_installed("onnxruntime"):
        yield from _providers()


def _torch() -> Finding:
    import torch

    from hrkd.device import choose_device
    from hrkd.recipe import Precision

    try:
        device = choose_device(Precision.AUTO)
        values = torch.ones(8, 8, device=device.device, dtype=device.dtype)
        is_right = bool((values @ values == 8).all())
    except RuntimeError as error:
        hint = "the driver does not fit this build of torch; CUDA_VISIBLE_DEVICES= trains on the processor"
        return Finding("torch", "problem", f"{torch.__version__}: {first_line(error)}", hint)
    if not is_right:
        return Finding("torch", "problem", f"{torch.__version__}: {device.describe()} computes wrongly")
    text = f"{torch.__version__}: training runs on {device.describe()}"
    if device.device.type == "cuda":
        return Finding("torch", "ok", text)
    built_for = f"this build is for CUDA {torch.version.cuda}" if torch.version.cuda else "this build knows no GPU"
    return Finding("torch", "note", f"{text}; no GPU was found, {built_for}")


def _providers() -> Iterator[Finding]:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    from hrkd.engines import forbid_telemetry

    forbid_telemetry()
    import onnxruntime

    for name in onnxruntime.get_available_providers():
        if name in _ELSEWHERE:
            continue
        topic = f"onnxruntime {onnxruntime.__version__}"
        problem = _load(name)
        if problem is None:
            yield Finding(topic, "ok", f"{name} loads")
        else:
            hint = "the provider's libraries are missing or do not fit the driver; bundles run on the processor"
            yield Finding(topic, "note", f"{name} is listed but does not load: {problem}", hint)


def _load(provider: str) -> str | None:
    """Return why a provider does not run a graph, or None when it does."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(_IDENTITY, options, providers=[provider])
    except Exception as error:  # noqa: BLE001 - each provider raises something else, and all of it is the finding
        return first_line(error)
    running = session.get_providers()[0]
    return None if running == provider else f"{running} runs instead"

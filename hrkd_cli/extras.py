"""Optional parts of the installation: which modules belong to which, and one clear error when one is missing."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import util

from hrkd.errors import HrkdError, MissingExtraError

_TRAIN = ("torch", "transformers", "datasets", "safetensors", "tensorboard", "filelock")
EXTRA_MODULES = {
    "edge": ("onnxruntime", "psutil", "tokenizers"),
    "report": ("jinja2", "matplotlib"),
    "train": _TRAIN,
    "export": (*_TRAIN, "onnx", "onnxruntime"),
    "trackers": ("accelerate",),
}
"""Modules that each extra brings. optimum is not among them: without it onnxruntime quantises (`backend: auto`)."""

_EXTRA_OF_MODULE = {
    "accelerate": "trackers",
    "datasets": "train",
    "filelock": "train",
    "jinja2": "report",
    "matplotlib": "report",
    "onnx": "export",
    "onnxruntime": "edge",
    "nncf": "openvino",
    "openvino": "openvino",
    "optimum": "export",
    "pandas": "train",
    "psutil": "edge",
    "pyarrow": "train",
    "safetensors": "train",
    "tensorboard": "train",
    "tokenizers": "edge",
    "torch": "train",
    "transformers": "train",
}


def require(what: str, *extras: str) -> None:
    """Check, without importing anything, that a command's extras are installed.

    Args:
        what: The command, for the message.
        extras: Keys of :data:`EXTRA_MODULES`.

    Raises:
        MissingExtraError: Naming all extras that are missing at once.
        HrkdError: Both onnxruntime wheels are installed.
    """
    missing = [extra for extra in extras if not all(is_installed(module) for module in EXTRA_MODULES[extra])]
    if missing:
        raise MissingExtraError(what, ",".join(missing))
    if "onnxruntime" in {module for extra in extras for module in EXTRA_MODULES[extra]}:
        refuse_both_runtimes()


def require_trackers(trackers: Sequence[str]) -> None:
    """Check that what hands curves to a service is installed.

    Args:
        trackers: Names of the services' packages.

    Raises:
        HrkdError: Something is missing.
    """
    if not trackers:
        return
    packages = [] if is_installed("accelerate") else ["'hrkd[trackers]'"]
    packages += [name for name in trackers if not is_installed(name)]
    if packages:
        wanted = " ".join(f"--track {name}" for name in trackers)
        raise HrkdError(f"`{wanted}` needs more packages", hint=f"pip install {' '.join(packages)}")


def is_installed(module: str) -> bool:
    """Return whether a top-level module can be found, without importing it."""
    return util.find_spec(module) is not None


def extra_of(error: ModuleNotFoundError) -> str | None:
    """Return the extra that would bring the module an import did not find, or None when that is another bug.

    A missing sub-module of an installed package is a bug of ours or theirs, not a missing extra.
    """
    module = (error.name or "").partition(".")[0]
    extra = _EXTRA_OF_MODULE.get(module)
    return extra if extra is not None and not is_installed(module) else None


def refuse_both_runtimes() -> None:
    """Check that only one of the two wheels of onnxruntime is there.

    Raises:
        HrkdError: Both are installed.
    """
    if all(_has_distribution(name) for name in ("onnxruntime", "onnxruntime-gpu")):
        raise HrkdError(
            "`onnxruntime` and `onnxruntime-gpu` are both installed, and both own the same folder",
            hint="pip uninstall both, then install one of 'hrkd[edge]' and 'hrkd[gpu]'",
        )


def _has_distribution(name: str) -> bool:
    from importlib import metadata

    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True

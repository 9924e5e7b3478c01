"""Which execution provider of onnxruntime a bundle runs on, and what is said about it."""

from __future__ import annotations

import pytest

from hrkd.engines import open_graph
from hrkd.engines.providers import installed_providers, wanted_providers
from hrkd.errors import ArtifactError
from tiny_bundle import make_bundle

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"


def test_the_processor_is_last_and_what_is_not_installed_is_left_out() -> None:
    """Prevents a bundle for TensorRT from failing on a machine that has CUDA alone, or neither."""
    wanted = wanted_providers({"providers": f"{TENSORRT},{CUDA}"})
    assert installed_providers(wanted, [TENSORRT, CUDA, CPU]) == [TENSORRT, CUDA, CPU]
    assert installed_providers(wanted, [CPU, CUDA]) == [CUDA, CPU]
    assert installed_providers(wanted_providers({}), [CUDA, CPU]) == [CPU]


def test_a_provider_from_elsewhere_is_refused() -> None:
    """Prevents a hostile manifest from making onnxruntime load a library of its choice."""
    with pytest.raises(ArtifactError, match="EvilExecutionProvider"):
        wanted_providers({"providers": f"EvilExecutionProvider,{CPU}"})


def test_falling_back_to_the_processor_is_said(tmp_path, recwarn) -> None:
    """Prevents a GPU's bundle from running on the processor for a year without anyone knowing why it is slow."""
    make_bundle(tmp_path / "bundle")
    model = tmp_path / "bundle" / "model.onnx"
    open_graph(model, "onnxruntime", {}, threads=1)
    assert not recwarn.list
    with pytest.warns(UserWarning, match=f"made for {CUDA}, but runs on {CPU}"):
        open_graph(model, "onnxruntime", {"providers": f"{CUDA},{CPU}"}, threads=1)

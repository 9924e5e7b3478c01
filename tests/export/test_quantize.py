"""Dynamic int8: everything that should be small is small, both libraries agree, and the answers survive."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from hrkd.errors import ExportError, MissingExtraError
from hrkd.models import MultiDomainClassifier
from hrkd.recipe import QuantizationBackend
from hrkd_export.facts import large_float_weights, read_facts
from hrkd_export.quantizers.base import Task
from hrkd_export.quantizers.dynamic import quantize_plain, resolve_backend
from hrkd_export.session import open_session, run_session
from hrkd_export.target import load_targets

TARGETS = load_targets()
CPU_TARGETS = [name for name, target in TARGETS.items() if target.machines]
BACKENDS = (QuantizationBackend.OPTIMUM, QuantizationBackend.ORT)
BIAS_BYTES = 1000
"""Above every bias, layer norm and head of the tiny models (head: 3 x 2 x 32 floats), below every matrix and table."""


def quantize_int8(source: Path, destination: Path, target: str, backend: QuantizationBackend) -> None:
    quantize_plain(Task(source, TARGETS[target], backend), destination)


def integer_weights(path: Path) -> dict[str, np.ndarray]:
    """Return the int8 and uint8 weights of a graph; scales and zero points left out."""
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    return {name: array for name, array in arrays.items() if array.dtype.itemsize == 1 and array.ndim == 2}


def make_inputs(count: int = 40) -> list[tuple[np.ndarray, ...]]:
    generator = np.random.default_rng(0)
    lengths = generator.integers(3, 40, count)
    return [
        (generator.integers(5, 90, (1, length)), np.ones((1, length), dtype=np.int64), np.array([index % 4 - 1]))
        for index, length in enumerate(lengths)
    ]


def logits_of(path: Path) -> np.ndarray:
    session = open_session(path)
    return np.concatenate([run_session(session, *inputs) for inputs in make_inputs()])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("target", CPU_TARGETS)
def test_no_large_float_weight_is_left(bert_graph: Path, tmp_path: Path, target: str, backend) -> None:
    """Prevents an embedding table or the pooler from staying fp32, which is most of a small model's size."""
    quantize_int8(bert_graph, tmp_path / "int8.onnx", target, backend)
    assert large_float_weights(bert_graph, BIAS_BYTES)
    assert large_float_weights(tmp_path / "int8.onnx", BIAS_BYTES) == {}


def test_every_architecture_is_quantised_and_keeps_its_answers(
    exported: tuple[MultiDomainClassifier, Path], tmp_path: Path
) -> None:
    """Prevents an encoder whose matrices the quantiser silently skips, or breaks."""
    _, path = exported
    quantize_int8(path, tmp_path / "int8.onnx", "avx512_vnni", QuantizationBackend.OPTIMUM)
    assert large_float_weights(tmp_path / "int8.onnx", BIAS_BYTES) == {}
    exact, rounded = logits_of(path), logits_of(tmp_path / "int8.onnx")
    assert 0 < np.abs(exact - rounded).max() < 0.35 * np.ptp(exact)
    assert np.mean(exact.argmax(axis=1) == rounded.argmax(axis=1)) >= 0.85


@pytest.mark.parametrize("target", CPU_TARGETS)
def test_both_libraries_make_the_same_model(bert_graph: Path, tmp_path: Path, target: str) -> None:
    """Prevents the fall-back library from shipping another model under the same name."""
    paths = [tmp_path / f"{backend}.onnx" for backend in BACKENDS]
    for path, backend in zip(paths, BACKENDS, strict=True):
        quantize_int8(bert_graph, path, target, backend)
    first, second = map(integer_weights, paths)
    assert len(first) >= 16
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    np.testing.assert_array_equal(logits_of(paths[0]), logits_of(paths[1]))


@pytest.mark.parametrize(("target", "limit"), [("avx2", 64), ("avx512", 64), ("arm64", 127)])
def test_weights_keep_to_the_range_of_the_target(bert_graph: Path, tmp_path: Path, target: str, limit: int) -> None:
    """Prevents 8-bit weights on cores whose 16-bit sums saturate: wrong answers, and only there."""
    quantize_int8(bert_graph, tmp_path / "int8.onnx", target, QuantizationBackend.OPTIMUM)
    matrices = [array for array in integer_weights(tmp_path / "int8.onnx").values() if array.dtype == np.int8]
    assert len(matrices) >= 13
    assert max(np.abs(array.astype(int)).max() for array in matrices) in (limit, limit - 1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_products_of_activations_stay_float(bert_graph: Path, tmp_path: Path, backend: QuantizationBackend) -> None:
    """Prevents attention from being quantised, which costs accuracy and saves no bytes: Optimum does it by default."""
    quantize_int8(bert_graph, tmp_path / "int8.onnx", "avx512_vnni", backend)
    facts = read_facts(tmp_path / "int8.onnx")
    layers = 2
    assert facts.operators["MatMulInteger"] == 6 * layers + 1
    assert facts.operators["MatMul"] == 2 * layers


@pytest.mark.parametrize("backend", BACKENDS)
def test_same_graph_gives_the_same_bytes(bert_graph: Path, tmp_path: Path, backend: QuantizationBackend) -> None:
    """Prevents temporary paths or set orders from changing the bundle's hash."""
    for name in ("a", "b"):
        quantize_int8(bert_graph, tmp_path / name, "avx512_vnni", backend)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_facts_are_counted_from_the_file(bert_graph: Path, tmp_path: Path) -> None:
    """Prevents a manifest that reports the intended numbers instead of the file's."""
    quantize_int8(bert_graph, tmp_path / "int8.onnx", "avx512_vnni", QuantizationBackend.ORT)
    exact, rounded = read_facts(bert_graph), read_facts(tmp_path / "int8.onnx")
    assert exact.quantized_bytes == 0
    assert exact.float_bytes > 0.7 * bert_graph.stat().st_size - 40_000
    assert rounded.quantized_bytes >= sum(array.size for array in integer_weights(tmp_path / "int8.onnx").values())
    assert 4 * rounded.quantized_bytes + rounded.float_bytes >= exact.float_bytes
    assert rounded.float_bytes < exact.float_bytes / 4
    assert exact.opset == rounded.opset == 17
    assert rounded.ir_version <= 8


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_is_logged_and_no_handler_is_left(bert_graph: Path, tmp_path: Path, backend, capfd) -> None:
    """Prevents the quantiser's advice from reaching users, and its root handler from doubling their log lines."""
    root = logging.getLogger()
    before = list(root.handlers), list(root.filters)
    for handler in before[0]:
        root.removeHandler(handler)
    try:
        quantize_int8(bert_graph, tmp_path / "int8.onnx", "avx2", backend)
        assert root.handlers == []
        assert root.filters == before[1]
    finally:
        for handler in before[0]:
            root.addHandler(handler)
    assert capfd.readouterr() == ("", "")


def test_damaged_graph_is_refused(tmp_path: Path) -> None:
    """Prevents a library's traceback where one sentence is due."""
    shape = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 4])
    weight = numpy_helper.from_array(np.ones((4, 4), dtype=np.float32), "w")
    untyped = onnx.helper.make_node("MatMul", ["y", "w"], ["z"], "product")
    unknown = onnx.helper.make_node("Mystery", ["x"], ["y"], "mystery", domain="nobody")
    output = onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, None)
    graph = onnx.helper.make_graph([unknown, untyped], "g", [shape], [output], [weight])
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("nobody", 1)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets), tmp_path / "odd.onnx")
    with pytest.raises(ExportError, match="cannot be quantised with `ort`"):
        quantize_int8(tmp_path / "odd.onnx", tmp_path / "int8.onnx", "avx2", QuantizationBackend.ORT)


def test_optimum_is_the_default_and_its_absence_is_handled(monkeypatch) -> None:
    """Prevents `auto` from failing, and `optimum` from silently becoming something else, where it is missing."""
    assert resolve_backend(QuantizationBackend.AUTO) is QuantizationBackend.OPTIMUM
    assert resolve_backend(QuantizationBackend.ORT) is QuantizationBackend.ORT
    monkeypatch.setitem(sys.modules, "optimum.onnxruntime", None)
    assert resolve_backend(QuantizationBackend.AUTO) is QuantizationBackend.ORT
    with pytest.raises(MissingExtraError, match="Optimum") as caught:
        resolve_backend(QuantizationBackend.OPTIMUM)
    assert "hrkd[export]" in str(caught.value)

"""Every way of quantising, over every family: small everywhere, close to fp32, the same bytes twice, and silent."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from hrkd.errors import ExportError, MissingExtraError
from hrkd.models import MultiDomainClassifier
from hrkd.recipe import Quantization, QuantizationBackend
from hrkd_export.facts import large_float_weights, read_facts
from hrkd_export.parity import pad
from hrkd_export.quantizers.base import Feeds, Task
from hrkd_export.quantizers.registry import QUANTIZERS, way_of
from hrkd_export.quantizers.weights import BLOCK_SIZE, pack
from hrkd_export.session import open_session, run_session
from hrkd_export.target import load_targets
from hrkd_export.to_onnx import export_onnx
from tiny_families import CONFIG, FAMILY_NAMES, families, family_encoder

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # DeBERTa's code

TARGETS = load_targets()
VOCABULARY = 60
SMALL_BYTES = 1000
"""Above every bias, layer norm, scale and head of the tiny models, below every matrix of a layer and every table."""
DRIFT = {
    Quantization.INT8: 0.15,
    Quantization.INT8_FUSED: 0.15,
    Quantization.INT8_INT4_TABLES: 0.6,
    Quantization.INT8_STATIC_QDQ: 0.25,
    Quantization.INT8_STATIC_QOPERATOR: 0.25,
    Quantization.INT8_WEIGHTS: 0.1,
    Quantization.INT4_WEIGHTS: 0.6,
    Quantization.FP16: 0.02,
    Quantization.INT8_OPENVINO: 0.35,
}
"""Largest accepted change of a logit, as a fraction of the range of all logits."""
WAYS = tuple(way for way in QUANTIZERS if way is not Quantization.INT8_OPENVINO)
FAMILIES = tuple(name for name in FAMILY_NAMES if name not in ("electra", "deberta"))
"""Without two whose graphs differ from a neighbour's in nothing that a quantiser sees."""
GraphOf = Callable[[str], Path]


def random_texts(count: int, seed: int = 0) -> list[Feeds]:
    """Return unpadded texts over all domains, the unknown one included."""
    generator = np.random.default_rng(seed)
    rows = [generator.integers(5, VOCABULARY, (1, length)) for length in generator.integers(3, 30, count)]
    return [
        {"input_ids": row, "attention_mask": np.ones_like(row), "domain_id": np.array([index % 4 - 1])}
        for index, row in enumerate(rows)
    ]


TEXTS = random_texts(24)
CALIBRATION = random_texts(12, seed=1)


@pytest.fixture(scope="session")
def graph_of(tmp_path_factory: pytest.TempPathFactory) -> GraphOf:
    """Return the fp32 graph of a family, checked against torch when it is made."""
    folder = tmp_path_factory.mktemp("families")

    def build(name: str) -> Path:
        path = folder / f"{name}.onnx"
        if not path.exists():
            classifier = MultiDomainClassifier(family_encoder(families()[name].config, attention="eager"), CONFIG)
            torch.nn.init.normal_(classifier.head_weight, std=0.5)
            export_onnx(classifier.eval(), path, opset=17)
            check_against_torch(classifier, path)
        return path

    return build


def check_against_torch(classifier: MultiDomainClassifier, path: Path) -> None:
    """The rung below every quantised one: fp32 logits equal torch's, alone and in a padded batch."""
    ids, mask = pad([text["input_ids"][0].tolist() for text in TEXTS], padding_id=1)
    domains = np.concatenate([text["domain_id"] for text in TEXTS])
    with torch.inference_mode():
        expected = classifier(*map(torch.from_numpy, (ids, mask, domains))).logits.numpy()
    session = open_session(path)
    np.testing.assert_allclose(run_session(session, ids, mask, domains), expected, atol=1e-4)
    np.testing.assert_allclose(logits_of(path), expected, atol=1e-4)


def logits_of(path: Path, engine="onnxruntime", texts: list[Feeds] = TEXTS) -> np.ndarray:
    session = open_session(path, engine)
    return np.concatenate(
        [run_session(session, text["input_ids"], text["attention_mask"], text["domain_id"]) for text in texts]
    )


def task_for(source: Path, **changes) -> Task:
    settings = {
        "target": TARGETS["avx512_vnni"],
        "backend": QuantizationBackend.ORT,
        "calibration": CALIBRATION,
        "heads": 4,
        "hidden_size": 32,
    }
    return Task(source, **{**settings, **changes})


def quantize(way: Quantization, source: Path, destination: Path, **changes):
    return way_of(way).quantizer()(task_for(source, **changes), destination)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("way", WAYS)
def test_every_family_stays_close_to_fp32(graph_of: GraphOf, tmp_path: Path, way: Quantization, family: str) -> None:
    """Prevents a family whose matrices a way skips silently, breaks, or blows up."""
    if (way, family) == (Quantization.INT8_FUSED, "deberta-v3"):
        pytest.skip("the library takes 8 s to infer the shapes of a tiny graph of this family")
    source, path = graph_of(family), tmp_path / "model.onnx"
    quantize(way, source, path)
    exact, rounded = logits_of(source), logits_of(path)
    assert np.isfinite(rounded).all()
    drift = np.abs(exact - rounded).max() / np.ptp(exact)
    assert 0 < drift <= DRIFT[way]
    if way is not Quantization.FP16:
        left = large_float_weights(path, SMALL_BYTES)
        # DeBERTa normalises its table of relative positions instead of looking rows up: not a product, not a lookup.
        assert [name for name in left if not name.endswith("rel_embeddings.weight")] == []


@pytest.mark.parametrize(
    ("way", "counts"),
    [
        (Quantization.INT8, {"MatMulInteger": 25, "MatMul": 8}),
        (Quantization.INT8_FUSED, {"QAttention": 3, "MatMulInteger": 16, "BiasGelu": 4, "MatMul": 2}),
        (Quantization.INT8_STATIC_QDQ, {"MatMul": 32, "Gemm": 1, "MatMulInteger": 0, "DynamicQuantizeLinear": 0}),
        (Quantization.INT8_STATIC_QOPERATOR, {"QLinearMatMul": 24, "QGemm": 1, "MatMul": 8}),
        (Quantization.INT8_WEIGHTS, {"MatMulNBits": 25, "MatMul": 8, "GatherBlockQuantized": 0}),
        (Quantization.INT4_WEIGHTS, {"MatMulNBits": 25, "MatMul": 8, "GatherBlockQuantized": 3}),
        (Quantization.INT8_INT4_TABLES, {"MatMulInteger": 25, "MatMul": 8, "GatherBlockQuantized": 3}),
        (Quantization.FP16, {"MatMul": 32, "Gemm": 1}),
    ],
)
def test_operators_are_what_the_way_says(graph_of: GraphOf, tmp_path: Path, way: Quantization, counts) -> None:
    """Prevents products of activations from being quantised, and a product with a weight from being forgotten."""
    made = quantize(way, graph_of("bert"), tmp_path / "model.onnx")
    facts = read_facts(tmp_path / "model.onnx")
    assert {name: facts.operators.get(name, 0) for name in counts} == counts
    assert (facts.opset, facts.ir_version) == (17, 8)
    fused = way is Quantization.INT8_FUSED
    assert dict(made.fusions) == ({"Attention": 3, "BiasGelu": 4} if fused else {})
    assert made.notes == (("Attention fused in 3 of 4 places",) if fused else ())


@pytest.mark.parametrize("way", WAYS)
def test_same_task_gives_the_same_bytes(graph_of: GraphOf, tmp_path: Path, way: Quantization) -> None:
    """Prevents temporary names, set orders or calibration from changing the bundle's hash."""
    for name in ("a", "b"):
        quantize(way, graph_of("bert"), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_printed_and_nothing_is_left(graph_of: GraphOf, tmp_path: Path, way: Quantization, capfd) -> None:
    """Prevents the libraries' advice, or a file beside the graph, from reaching the user."""
    source = graph_of("bert")
    before = sorted(source.parent.iterdir())
    (tmp_path / "out").mkdir()
    quantize(way, source, tmp_path / "out" / "model.onnx")
    assert capfd.readouterr() == ("", "")
    assert sorted(source.parent.iterdir()) == before
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["model.onnx"]


LAYER = "/classifier/encoder/encoder/layer.1"
KEPT = (
    "/classifier/encoder/embeddings/word_embeddings/Gather",
    f"{LAYER}/attention/self/query/MatMul",
    f"{LAYER}/output/dense/MatMul",
    "/classifier/pooler/Gemm",
)


@pytest.mark.parametrize("way", WAYS)
def test_nodes_of_the_guard_stay_in_float(graph_of: GraphOf, tmp_path: Path, way: Quantization) -> None:
    """Prevents a guard without effect: onnxruntime renames Gemm, fusion swallows projections, and both are silent."""
    source = graph_of("bert")
    quantize(way, source, tmp_path / "all.onnx")
    quantize(way, source, tmp_path / "some.onnx", kept_in_float=frozenset(KEPT))
    more = read_facts(tmp_path / "some.onnx").float_bytes - read_facts(tmp_path / "all.onnx").float_bytes
    values = VOCABULARY * 32 + 32 * 32 + 64 * 32 + 32 * 32
    if way is Quantization.INT8_FUSED:
        values += 2 * 32 * 32  # key and value, fused with the query
    per_value = 2 if way is Quantization.FP16 else 4
    assert 0.85 * per_value * values <= more <= per_value * values + 200  # and the Gemm's bias
    assert np.isfinite(logits_of(tmp_path / "some.onnx")).all()


@pytest.mark.parametrize("way", [Quantization.INT8_STATIC_QDQ, Quantization.INT8_STATIC_QOPERATOR])
def test_both_libraries_calibrate_alike(graph_of: GraphOf, tmp_path: Path, way: Quantization) -> None:
    """Prevents the fall-back library from shipping another static model under the same name."""
    for backend in (QuantizationBackend.OPTIMUM, QuantizationBackend.ORT):
        quantize(way, graph_of("bert"), tmp_path / backend, backend=backend)
    assert large_float_weights(tmp_path / "optimum", SMALL_BYTES) == {}
    np.testing.assert_array_equal(logits_of(tmp_path / "optimum"), logits_of(tmp_path / "ort"))


def test_every_calibration_text_counts(graph_of: GraphOf, tmp_path: Path) -> None:
    """Prevents ranges from the last few texts alone, which is what onnxruntime's memory-saving option gives."""
    scales = []
    for texts in (CALIBRATION, CALIBRATION[1:], list(reversed(CALIBRATION))):
        quantize(Quantization.INT8_STATIC_QDQ, graph_of("bert"), tmp_path / "model.onnx", calibration=texts)
        tensors = {tensor.name: tensor for tensor in onnx.load(tmp_path / "model.onnx").graph.initializer}
        names = sorted(name for name in tensors if name.startswith("/") and name.endswith("_scale"))
        scales.append(np.array([float(numpy_helper.to_array(tensors[name])) for name in names]))
    everything, without_first, reversed_order = scales
    assert len(everything) > 20
    np.testing.assert_array_equal(everything, reversed_order)
    assert (without_first <= everything).all()
    assert (without_first < everything).any()


@pytest.mark.parametrize("way", [way for way, entry in QUANTIZERS.items() if entry.calibrates])
def test_calibration_without_texts_is_refused(graph_of: GraphOf, tmp_path: Path, way: Quantization) -> None:
    """Prevents an assertion of the library where the recipe is what is missing."""
    if way is Quantization.INT8_OPENVINO:
        pytest.importorskip("nncf", reason="the extra `openvino` is not installed")
    with pytest.raises(ExportError, match="needs calibration texts"):
        quantize(way, graph_of("bert"), tmp_path / "model.onnx", calibration=())


def test_optimum_hands_a_fused_graph_on_and_says_so(graph_of: GraphOf, tmp_path: Path) -> None:
    """Prevents Optimum's failure on fused graphs, and a manifest that names a library which did not do it."""
    ort = quantize(Quantization.INT8_FUSED, graph_of("bert"), tmp_path / "a")
    optimum = quantize(Quantization.INT8_FUSED, graph_of("bert"), tmp_path / "b", backend=QuantizationBackend.OPTIMUM)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert set(optimum.notes) - set(ort.notes) == {
        "quantised with onnxruntime, because Optimum cannot quantise a fused graph"
    }


@pytest.mark.parametrize("width", [32, 48, 312])
@pytest.mark.parametrize("bits", [4, 8])
def test_blocks_are_what_the_product_reads(tmp_path: Path, bits, width: int) -> None:
    """Prevents a wrong order of nibbles, sign, or filling of a last block: the answer would be noise, not an error."""
    generator = np.random.default_rng(0)
    weight = generator.normal(size=(width, 24)).astype(np.float32)
    weight[:, 3] = 0
    blocks = pack(weight.T, bits, BLOCK_SIZE)
    node = helper.make_node(
        "MatMulNBits",
        ["x", "w", "s"],
        ["y"],
        domain="com.microsoft",
        K=width,
        N=24,
        bits=bits,
        block_size=BLOCK_SIZE,
    )
    tensors = [numpy_helper.from_array(blocks.packed, "w"), numpy_helper.from_array(blocks.scales, "s")]
    identity = np.eye(width, dtype=np.float32)
    read = run_node(node, tensors, {"x": identity})
    limit = np.repeat(np.abs(blocks.scales), BLOCK_SIZE, axis=1)[:, :width].T
    assert (np.abs(read - weight) <= limit * (1.01 if bits == 4 else 1.51)).all()
    assert np.abs(read - weight).max() > 0
    assert (read[:, 3] == 0).all()


def run_node(node: onnx.NodeProto, tensors: list[TensorProto], feeds: dict[str, np.ndarray]) -> np.ndarray:
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape) for name, array in feeds.items()]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "g", inputs, [output], tensors)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0]


def test_width_that_is_no_multiple_of_a_block(tmp_path: Path) -> None:
    """Prevents TinyBERT's 312 columns from shifting every row of a packed table."""
    from transformers import BertConfig

    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=312,
        num_hidden_layers=1,
        num_attention_heads=12,
        intermediate_size=120,
        max_position_embeddings=40,
        initializer_range=0.1,
    )
    classifier = MultiDomainClassifier(family_encoder(config, attention="eager"), CONFIG)
    torch.nn.init.normal_(classifier.head_weight, std=0.5)
    source, path = tmp_path / "exact.onnx", tmp_path / "model.onnx"
    export_onnx(classifier.eval(), source, opset=17)
    exact = logits_of(source)
    for way, limit in ((Quantization.INT8_WEIGHTS, 0.05), (Quantization.INT4_WEIGHTS, 0.35)):
        quantize(way, source, path, heads=12, hidden_size=312)
        assert np.abs(logits_of(path) - exact).max() <= limit * np.ptp(exact)


def test_half_precision_keeps_improbable_classes_finite(tmp_path: Path) -> None:
    """Prevents an infinite logit for an unknown domain: casts around each fp32 node would round probabilities to 0."""
    classifier = MultiDomainClassifier(family_encoder(families()["bert"].config, attention="eager"), CONFIG)
    torch.nn.init.normal_(classifier.head_weight, std=10.0)
    source, path = tmp_path / "exact.onnx", tmp_path / "model.onnx"
    export_onnx(classifier.eval(), source, opset=17)
    quantize(Quantization.FP16, source, path)
    unknown = [{**text, "domain_id": np.array([-1])} for text in TEXTS]
    exact, rounded = logits_of(source, texts=unknown), logits_of(path, texts=unknown)
    assert exact.min() < np.log(6e-8) - 1
    np.testing.assert_allclose(rounded, exact, atol=0.02 * np.ptp(exact))


def test_auto_is_no_way() -> None:
    """Prevents `auto` from ending in a KeyError where a single way is asked for."""
    with pytest.raises(ExportError, match="`auto` is no way"):
        way_of(Quantization.AUTO)
    assert set(QUANTIZERS) == set(Quantization) - {Quantization.AUTO}
    assert all(callable(entry.quantizer()) for way, entry in QUANTIZERS.items())


def test_missing_extra_is_named(graph_of: GraphOf, tmp_path: Path, monkeypatch) -> None:
    """Prevents a traceback where a package is what is missing."""
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(MissingExtraError, match="quantising for OpenVINO") as caught:
        quantize(Quantization.INT8_OPENVINO, graph_of("bert"), tmp_path / "model.onnx")
    assert "hrkd[openvino]" in str(caught.value)


@pytest.mark.parametrize("family", ["bert", *(pytest.param(x, marks=pytest.mark.slow) for x in FAMILIES[1:-1])])
def test_openvino_stays_close_to_fp32(graph_of: GraphOf, tmp_path: Path, family: str, capfd) -> None:
    """Prevents a graph that OpenVINO cannot read, a table in float, other bytes each time, and progress bars."""
    pytest.importorskip("nncf", reason="the extra `openvino` is not installed")
    pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
    source, kept = graph_of(family), frozenset({"/classifier/pooler/Gemm"})
    for name, nodes in (("a", frozenset()), ("b", frozenset()), ("c", kept)):
        quantize(Quantization.INT8_OPENVINO, source, tmp_path / name, kept_in_float=nodes)
    assert capfd.readouterr() == ("", "")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert large_float_weights(tmp_path / "a", SMALL_BYTES) == {}
    assert list(large_float_weights(tmp_path / "c", SMALL_BYTES)) == ["classifier.pooler.weight"]
    exact, rounded = logits_of(source), logits_of(tmp_path / "a", "openvino")
    assert 0 < np.abs(exact - rounded).max() / np.ptp(exact) <= DRIFT[Quantization.INT8_OPENVINO]


def test_importing_nncf_reports_to_nobody() -> None:
    """Prevents NNCF and OpenVINO from sending events about a user who was never asked."""
    pytest.importorskip("nncf", reason="the extra `openvino` is not installed")
    code = (
        "import logging, sys, unittest.mock\n"
        "from hrkd_export.quantizers.openvino import import_nncf\n"
        "import_nncf()\n"
        "import nncf.telemetry, openvino.tools.ovc as ovc\n"
        "assert isinstance(nncf.telemetry.telemetry, unittest.mock.MagicMock)\n"
        "assert type(ovc.telemetry).__module__.endswith('telemetry_stub')\n"
        "assert sys.modules['openvino_telemetry'] is None\n"
        "assert logging.getLoggerClass() is logging.Logger\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")

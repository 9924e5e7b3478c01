"""The fp32 graph computes what the classifier computes, for every batch size, length and domain."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from transformers import FNetConfig

from hrkd.errors import ExportError
from hrkd.models import MultiDomainClassifier, load_classifier
from hrkd_export.session import open_session, run_session
from hrkd_export.to_onnx import ExportWrapper, export_onnx

SHAPES = [(1, 1), (1, 2), (1, 3), (1, 48), (2, 6), (3, 17), (7, 5), (4, 48)]


def make_inputs(batch: int, tokens: int, *, vocab_size: int = 90, num_domains: int = 3) -> tuple[np.ndarray, ...]:
    """Return random ids with rows padded to different lengths, and domains that take turns, unknown included."""
    generator = np.random.default_rng(100 * batch + tokens)
    input_ids = generator.integers(5, vocab_size, (batch, tokens))
    lengths = np.maximum(1, tokens - np.arange(batch) % tokens)
    attention_mask = (np.arange(tokens) < lengths[:, None]).astype(np.int64)
    domain_ids = (np.arange(batch) + tokens) % (num_domains + 1) - 1
    return input_ids * attention_mask, attention_mask, domain_ids


def run_torch(classifier: MultiDomainClassifier, *arrays: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return classifier(*(torch.from_numpy(array) for array in arrays)).logits.numpy()


def test_equals_the_classifier_on_shapes_it_was_not_traced_with(exported: tuple[MultiDomainClassifier, Path]) -> None:
    """Prevents a mask, position or size of the traced example frozen into the graph as a constant."""
    classifier, path = exported
    session = open_session(path)
    for batch, tokens in SHAPES:
        inputs = make_inputs(batch, tokens)
        np.testing.assert_allclose(run_session(session, *inputs), run_torch(classifier, *inputs), atol=1e-5)


def test_every_length_up_to_the_limit_alone(checkpoint: Path, bert_graph: Path) -> None:
    """Prevents a single length, such as 1 or the maximum, from failing only on the device."""
    classifier, session = load_classifier(checkpoint), open_session(bert_graph)
    for tokens in range(1, classifier.config.max_length + 1):
        inputs = make_inputs(1, tokens)
        np.testing.assert_allclose(run_session(session, *inputs), run_torch(classifier, *inputs), atol=1e-5)


def test_unknown_domain_is_the_mean_of_all_heads(bert_graph: Path) -> None:
    """Prevents -1 from silently picking the last or the first domain's head."""
    session = open_session(bert_graph)
    input_ids, attention_mask, _ = make_inputs(1, 9)

    def probabilities(domain: int) -> np.ndarray:
        logits = run_session(session, input_ids, attention_mask, np.array([domain]))[0]
        return np.exp(logits) / np.exp(logits).sum()

    heads = np.stack([probabilities(domain) for domain in range(3)])
    assert np.ptp(heads, axis=0).max() > 0.05
    np.testing.assert_allclose(probabilities(-1), heads.mean(axis=0), atol=1e-6)


def test_text_pairs_keep_their_token_types(pair_checkpoint: Path, tmp_path: Path) -> None:
    """Prevents token types from being traced as constants, which leaves a pair model blind to which text is which."""
    classifier = load_classifier(pair_checkpoint, attention="eager")
    export_onnx(classifier, tmp_path / "model.onnx", opset=17)
    session = open_session(tmp_path / "model.onnx")
    separator = classifier.config.separator_id
    for batch, tokens, position in [(1, 8, 3), (1, 30, 20), (4, 12, 2)]:
        input_ids, attention_mask, domain_ids = make_inputs(batch, tokens)
        input_ids[:, position] = input_ids[:, -1] = separator
        inputs = (input_ids, attention_mask, domain_ids)
        expected = run_torch(classifier, *inputs)
        np.testing.assert_allclose(run_session(session, *inputs), expected, atol=1e-5)
        classifier.config = type(classifier.config)(**{**_fields(classifier), "text_pairs": False})
        assert np.abs(run_torch(classifier, *inputs) - expected).max() > 1e-3
        classifier.config = type(classifier.config)(**{**_fields(classifier), "text_pairs": True})


def _fields(classifier: MultiDomainClassifier) -> dict[str, object]:
    return {name: getattr(classifier.config, name) for name in type(classifier.config).__slots__}


def test_dropout_stays_off_during_and_after_the_export(checkpoint: Path, tmp_path: Path) -> None:
    """Prevents the exporter from restoring a training mode that puts noise into every later reference."""
    classifier = load_classifier(checkpoint, attention="eager").train()
    export_onnx(classifier, tmp_path / "model.onnx", opset=17)
    assert not any(module.training for module in ExportWrapper(classifier).modules())
    assert not any(module.training for module in classifier.modules())
    inputs = make_inputs(3, 12)
    actual = run_session(open_session(tmp_path / "model.onnx"), *inputs)
    np.testing.assert_allclose(actual, run_torch(classifier, *inputs), atol=1e-5)


def test_same_classifier_gives_the_same_bytes(checkpoint: Path, bert_graph: Path, tmp_path: Path) -> None:
    """Prevents paths, counters or times in the file, which would change the bundle's hash for no reason."""
    export_onnx(load_classifier(checkpoint, attention="eager"), tmp_path / "elsewhere.onnx", opset=17)
    assert (tmp_path / "elsewhere.onnx").read_bytes() == bert_graph.read_bytes()


def test_holds_the_classifier_and_nothing_else(checkpoint: Path, bert_graph: Path) -> None:
    """Prevents training-only or duplicated weights from travelling to the device."""
    model = onnx.load(bert_graph)
    exported = sum(
        np.prod(tensor.dims) for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT
    )
    parameters = sum(parameter.numel() for parameter in load_classifier(checkpoint).parameters())
    assert exported == parameters
    assert [entry.name for entry in model.graph.input] == ["input_ids", "attention_mask", "domain_id"]
    assert [entry.name for entry in model.graph.output] == ["logits"]
    assert model.ir_version <= 8


@pytest.mark.parametrize("opset", [14, 20])
def test_every_accepted_opset_exports(checkpoint: Path, tmp_path: Path, opset: int) -> None:
    """Prevents the recipe from accepting an operator set whose graph fails or differs."""
    classifier = load_classifier(checkpoint, attention="eager")
    export_onnx(classifier, tmp_path / "model.onnx", opset)
    assert onnx.load(tmp_path / "model.onnx").opset_import[0].version == opset
    inputs = make_inputs(3, 11)
    actual = run_session(open_session(tmp_path / "model.onnx"), *inputs)
    np.testing.assert_allclose(actual, run_torch(classifier, *inputs), atol=1e-5)


def test_unsupported_architecture_is_named(make_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    """Prevents a traceback from inside the tracer where the user needs the name of the encoder."""
    config = FNetConfig(vocab_size=96, hidden_size=32, num_hidden_layers=1, intermediate_size=64)
    folder = make_checkpoint("fnet", config=config)
    with pytest.raises(ExportError, match=r"FNetModel.*cannot be exported"):
        export_onnx(load_classifier(folder, attention="eager"), tmp_path / "model.onnx", opset=17)

"""The checks before shipping notice what they are there to notice."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from tokenizers import Tokenizer, normalizers
from torch import Tensor

from hrkd.bundle import EvalExample
from hrkd.errors import ExportError
from hrkd.models import load_classifier, load_tokenizer
from hrkd_export.evaluation_texts import read_checkpoint_examples
from hrkd_export.model import write_tokenizer
from hrkd_export.parity import NASTY_TEXTS, TOLERANCE, check_logits, check_tokenizer, choose_probes, encode
from hrkd_export.to_onnx import ExportWrapper, export_onnx


class Subject:
    """A checkpoint, opened."""

    def __init__(self, folder: Path) -> None:
        self.classifier = load_classifier(folder, attention="eager")
        self.tokenizer = load_tokenizer(folder)
        self.examples = read_checkpoint_examples(folder, self.classifier.config)


@pytest.fixture(scope="module")
def subject(checkpoint: Path) -> Subject:
    return Subject(checkpoint)


def test_faithful_graph_passes(subject: Subject, bert_graph: Path) -> None:
    """Prevents a tolerance that rejects what is only float rounding."""
    assert check_logits(subject.classifier, subject.tokenizer, bert_graph, subject.examples) < TOLERANCE / 10


def test_faithful_pair_graph_passes(pair_checkpoint: Path, tmp_path: Path) -> None:
    """Prevents pairs from being checked on their first text only."""
    pairs = Subject(pair_checkpoint)
    export_onnx(pairs.classifier, tmp_path / "model.onnx", opset=17)
    assert check_logits(pairs.classifier, pairs.tokenizer, tmp_path / "model.onnx", pairs.examples) < TOLERANCE / 10


def test_one_changed_weight_is_noticed(subject: Subject, bert_graph: Path, tmp_path: Path) -> None:
    """Prevents a comparison that is true for any graph."""
    model = onnx.load(bert_graph)
    bias = next(tensor for tensor in model.graph.initializer if tensor.name.endswith("pooler.bias"))
    changed = numpy_helper.to_array(bias) + np.float32(1e-2)
    bias.CopyFrom(numpy_helper.from_array(changed, bias.name))
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(ExportError, match=r"differs from the model by \d\.\d+e[+-]\d+ \(accepted: 1e-04\)"):
        check_logits(subject.classifier, subject.tokenizer, tmp_path / "model.onnx", subject.examples)


def test_graph_that_ignores_the_mask_is_noticed(subject: Subject, tmp_path: Path, monkeypatch) -> None:
    """Prevents a check on single texts only, on which a graph without a mask is right."""

    def blind(self: ExportWrapper, input_ids: Tensor, attention_mask: Tensor, domain_id: Tensor) -> Tensor:
        return self.classifier(input_ids, torch.ones_like(attention_mask), domain_id).logits

    with monkeypatch.context() as patch:
        patch.setattr(ExportWrapper, "forward", blind)
        export_onnx(subject.classifier, tmp_path / "model.onnx", opset=17)
    with pytest.raises(ExportError, match=r"on [2-9]\d* text\(s\)"):
        check_logits(subject.classifier, subject.tokenizer, tmp_path / "model.onnx", subject.examples)


def test_nan_is_noticed(subject: Subject, bert_graph: Path) -> None:
    """Prevents NaN from passing because it compares as not larger than the tolerance."""
    broken = deepcopy(subject.classifier)
    with torch.no_grad():
        broken.head_bias[0, 0] = float("nan")
    with pytest.raises(ExportError, match="differs from the model by nan"):
        check_logits(broken, subject.tokenizer, bert_graph, subject.examples)


def test_probes_reach_from_the_shortest_to_the_limit(subject: Subject) -> None:
    """Prevents a verification on average lengths only."""
    limit = subject.classifier.config.max_length
    lengths = [len(ids) for ids in choose_probes(subject.tokenizer, subject.examples, limit)]
    everything = [len(encode(subject.tokenizer, example.text, None, limit)) for example in subject.examples]
    assert lengths[0] == min(everything)
    assert lengths[-2] == max(everything)
    assert lengths[-1] == limit
    assert len(set(lengths)) >= 5


def test_shipped_tokenizer_equals_the_training_tokenizer(subject: Subject, tmp_path: Path) -> None:
    """Prevents a device that reads other tokens than the model was trained on, on hostile texts above all."""
    shipped = write_tokenizer(subject.tokenizer, tmp_path / "tokenizer.json")
    assert shipped.truncation is None
    assert shipped.padding is None
    check_tokenizer(subject.tokenizer, shipped, subject.examples, 48, text_pairs=False)
    assert max(map(len, NASTY_TEXTS)) >= 10_000


def test_shipped_tokenizer_equals_the_training_tokenizer_on_pairs(pair_checkpoint: Path, tmp_path: Path) -> None:
    """Prevents another way of cutting two long texts to the limit."""
    pairs = Subject(pair_checkpoint)
    shipped = write_tokenizer(pairs.tokenizer, tmp_path / "tokenizer.json")
    check_tokenizer(pairs.tokenizer, shipped, pairs.examples, 48, text_pairs=True)


def test_another_normalizer_is_noticed(subject: Subject, tmp_path: Path) -> None:
    """Prevents a cased tokenizer from being shipped for an uncased model."""
    shipped = write_tokenizer(subject.tokenizer, tmp_path / "tokenizer.json")
    shipped.normalizer = normalizers.Sequence([])
    shouting = EvalExample(text="GOOD film", label="pos", domain="books", teacher_logits=(0.0, 1.0))
    with pytest.raises(ExportError, match="'GOOD film'"):
        check_tokenizer(subject.tokenizer, shipped, [shouting], 48, text_pairs=False)


def test_another_truncation_side_is_noticed(checkpoint: Path, tmp_path: Path) -> None:
    """Prevents long texts from losing their start in training and their end on the device."""
    tokenizer = load_tokenizer(checkpoint)
    tokenizer.truncation_side = "left"
    shipped = write_tokenizer(tokenizer, tmp_path / "tokenizer.json")
    long = " ".join(f"good bad film book {letter}" for letter in "abcdefghijklmnopqrst")
    example = EvalExample(text=long, label="pos", domain="books", teacher_logits=(0.0, 1.0))
    with pytest.raises(ExportError, match="truncation side"):
        check_tokenizer(tokenizer, shipped, [example], 48, text_pairs=False)


def test_truncation_left_by_training_is_not_shipped(checkpoint: Path, tmp_path: Path) -> None:
    """Prevents a limit that a training call left in the tokenizer from cutting texts on the device."""
    tokenizer = load_tokenizer(checkpoint)
    tokenizer(["good film"], truncation=True, max_length=8, padding="max_length")
    write_tokenizer(tokenizer, tmp_path / "tokenizer.json")
    shipped = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert len(shipped.encode("good " * 30).ids) == 32

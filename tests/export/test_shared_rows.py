"""Pieces that share embedding rows: the frequent ones keep theirs, the others take a similar one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from hrkd.errors import ExportError
from hrkd.models import load_classifier, load_tokenizer
from hrkd_export.session import open_session, run_session
from hrkd_export.shared_rows import SharedRows, share_rows
from hrkd_export.to_onnx import export_onnx

TEXTS = ["good film good", "bad book", "good good"]


@pytest.fixture
def parts(checkpoint: Path):
    return load_classifier(checkpoint, attention="eager"), load_tokenizer(checkpoint)


def inputs(tokenizer, text: str):
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    return ids, torch.ones_like(ids), torch.zeros(1, dtype=torch.int64)


def test_texts_of_kept_pieces_are_answered_as_before(parts) -> None:
    """A row number off by one answers every text with its neighbour's meaning."""
    classifier, tokenizer = parts
    used = set(tokenizer(" ".join(TEXTS))["input_ids"])
    shared = share_rows(classifier, tokenizer, TEXTS, len({*used, *tokenizer.all_special_ids, 0}) + 2)
    for text in TEXTS:
        before, after = (model(*inputs(tokenizer, text)).logits for model in (classifier, shared))
        torch.testing.assert_close(after, before)


def test_a_dropped_piece_takes_the_most_similar_row(parts) -> None:
    """Any other row would still give an answer, and only the accuracy would tell."""
    classifier, tokenizer = parts
    table = classifier.encoder.get_input_embeddings().weight.detach()
    shared = share_rows(classifier, tokenizer, TEXTS, 20).encoder.get_input_embeddings()
    assert isinstance(shared, SharedRows)
    assert shared.weight.shape == (20, table.shape[1])
    centred = (table - table.mean(dim=0)).numpy()
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    own = [int((table == row).all(dim=1).nonzero()[0]) for row in shared.weight]
    for piece in range(len(table)):
        best = max(range(20), key=lambda row: centred[piece] @ centred[own[row]])
        assert int(shared.row_of[piece]) == best


def test_the_model_given_stays_as_it_is(parts) -> None:
    """Exporting must not change the student that other candidates are made from."""
    classifier, tokenizer = parts
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    share_rows(classifier, tokenizer, TEXTS, 20)
    assert all(torch.equal(before[name], value) for name, value in classifier.state_dict().items())
    assert share_rows(classifier, tokenizer, TEXTS, 10_000) is classifier


def test_it_is_exported_with_its_small_table(parts, tmp_path: Path) -> None:
    """A graph that holds the whole table beside the shared one is larger than before."""
    classifier, tokenizer = parts
    shared = share_rows(classifier, tokenizer, TEXTS, 20)
    path = tmp_path / "model.onnx"
    export_onnx(shared, path, opset=17)
    rows = [tuple(tensor.dims) for tensor in onnx.load(path).graph.initializer if len(tensor.dims) == 2]
    assert (20, 32) in rows
    assert (96, 32) not in rows
    arrays = [array.numpy() for array in inputs(tokenizer, "good film and another book")]
    expected = shared(*map(torch.from_numpy, arrays)).logits.detach().numpy()
    np.testing.assert_allclose(run_session(open_session(path), *arrays), expected, atol=1e-5)


def test_too_few_rows_are_refused(parts) -> None:
    """Special tokens that share a row with a word cannot be told from it."""
    with pytest.raises(ExportError, match="too few"):
        share_rows(*parts, TEXTS, 2)

"""The PyTorch classifier that the bundle is measured against: it must be the model itself, text by text."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from hrkd.errors import CheckpointError
from hrkd.inference import TorchClassifier
from hrkd.model_folder import WEIGHTS
from hrkd.models import ClassifierConfig, MultiDomainClassifier, load_tokenizer, save_classifier
from hrkd.models.encoder import load_encoder

MAX_LENGTH = 12
TEXTS = ["bad", "the film was very good", "", "the price is awful and the phone is broken"]
DOMAIN_IDS = [1, 0, -1, 1]


def make_model(encoder: Path, *, text_pairs: bool = False) -> MultiDomainClassifier:
    torch.manual_seed(0)
    separator = load_tokenizer(encoder).sep_token_id
    config = ClassifierConfig(("books", "films"), ("neg", "pos"), MAX_LENGTH, text_pairs, separator)
    model = MultiDomainClassifier(load_encoder(str(encoder)), config).eval()
    torch.nn.init.normal_(model.head_weight)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_classifier(make_model(tiny_encoder), load_tokenizer(tiny_encoder), folder)
    return folder


@pytest.fixture(scope="module")
def classifier(folder: Path) -> TorchClassifier:
    return TorchClassifier.load(folder)


@torch.no_grad()
def test_equals_the_model(classifier: TorchClassifier, tiny_encoder: Path) -> None:
    """A baseline that is worse than the real teacher flatters the student."""
    model, tokenizer = make_model(tiny_encoder), load_tokenizer(tiny_encoder)
    for text, domain in zip(TEXTS, DOMAIN_IDS, strict=True):
        batch = tokenizer(text, return_tensors="pt")
        expected = model(batch.input_ids, batch.attention_mask, torch.tensor([domain])).logits[0]
        logits = classifier.run(classifier.tokenize(text), domain)
        assert logits.shape == (2,)
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits, expected.numpy(), atol=1e-5)


def test_a_batch_equals_its_single_texts(classifier: TorchClassifier) -> None:
    """Padding that is attended to changes the short texts of a batch only a little."""
    encoded = [classifier.tokenize(text) for text in TEXTS]
    assert len({len(ids) for ids in encoded}) > 2, "the texts must need padding"
    single = np.stack([classifier.run(ids, domain) for ids, domain in zip(encoded, DOMAIN_IDS, strict=True)])
    np.testing.assert_allclose(classifier.run_batch(encoded, DOMAIN_IDS), single, atol=1e-5)


def test_long_texts_are_cut_as_in_training(classifier: TorchClassifier, tiny_encoder: Path) -> None:
    """Uncut, the model sees positions that it was never trained on; cut otherwise, it loses the separator."""
    text = "the film was very good and " * 10
    expected = load_tokenizer(tiny_encoder)(text, truncation=True, max_length=MAX_LENGTH).input_ids
    ids = classifier.tokenize(text)
    assert len(ids) == MAX_LENGTH
    assert ids.tolist() == expected
    assert np.isfinite(classifier.run(ids, 0)).all()


@torch.no_grad()
def test_pairs_equal_the_model(tiny_encoder: Path, tmp_path: Path) -> None:
    """A pair read as one text, or cut on one side only, loses accuracy without an error."""
    tokenizer = load_tokenizer(tiny_encoder)
    model = make_model(tiny_encoder, text_pairs=True)
    save_classifier(model, tokenizer, tmp_path)
    classifier = TorchClassifier.load(tmp_path)
    for first, second in (("good film", "bad"), ("good film " * 9, "the plot was sad " * 9)):
        batch = tokenizer(first, second, truncation=True, max_length=MAX_LENGTH, return_tensors="pt")
        ids = classifier.tokenize(first, second)
        assert ids.tolist() == batch.input_ids[0].tolist()
        pooled = model.encoder(**batch)[0][:, 0]
        expected = torch.tanh(model.pooler(pooled)) @ model.head_weight[1].T + model.head_bias[1]
        np.testing.assert_allclose(classifier.run(ids, 1), expected[0].numpy(), atol=1e-5)


def test_a_saved_padding_or_limit_does_not_count(folder: Path, tmp_path: Path) -> None:
    """A tokenizer file remembers its last use; padded to 64, every measured time would be that of 64 tokens."""
    shutil.copytree(folder, tmp_path / "model")
    tokenizer = load_tokenizer(tmp_path / "model")
    tokenizer.backend_tokenizer.enable_padding(length=64)
    tokenizer.backend_tokenizer.enable_truncation(4)
    tokenizer.backend_tokenizer.save(str(tmp_path / "model" / "tokenizer.json"))
    classifier = TorchClassifier.load(tmp_path / "model")
    assert [len(classifier.tokenize(text)) for text in TEXTS] == [3, 7, 2, 11]


def test_names_and_size(classifier: TorchClassifier, folder: Path) -> None:
    """The size is compared with the bundle's: only what is needed to run may count, and all of it must."""
    assert classifier.domain_names == ("books", "films")
    assert classifier.label_names == ("neg", "pos")
    needed = (WEIGHTS, "config.json", "classifier.json", "tokenizer.json")
    assert classifier.size_bytes == sum((folder / name).stat().st_size for name in needed)


@pytest.mark.parametrize("content", [None, "{"])
def test_a_damaged_tokenizer_is_an_error_of_the_user(folder: Path, tmp_path: Path, content: str | None) -> None:
    """The library raises a bare Exception, which looks like a bug of ours."""
    shutil.copytree(folder, tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").unlink()
    if content is not None:
        (tmp_path / "model" / "tokenizer.json").write_text(content, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json` cannot be read"):
        TorchClassifier.load(tmp_path / "model")


def test_threads_are_set_only_when_asked_for(folder: Path) -> None:
    """Timings on all cores beside timings on one are no comparison."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        TorchClassifier.load(folder)
        assert torch.get_num_threads() == 2
        TorchClassifier.load(folder, threads=1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)

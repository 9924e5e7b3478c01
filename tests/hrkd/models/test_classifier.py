"""The multi-domain classifier: routing, attention scores, storage."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hrkd.errors import CheckpointError, RecipeError
from hrkd.model_folder import WEIGHTS
from hrkd.models import ClassifierConfig, MultiDomainClassifier, load_classifier, load_tokenizer, save_classifier
from hrkd.models.encoder import load_encoder

TEXTS = ["the film was very good", "bad", "the price is awful and the phone is broken"]
CONFIG = ClassifierConfig(("books", "films"), ("neg", "pos"), 32, separator_id=3)


@pytest.fixture
def model(tiny_encoder: Path) -> MultiDomainClassifier:
    torch.manual_seed(0)
    return MultiDomainClassifier(load_encoder(str(tiny_encoder)), CONFIG).eval()


@pytest.fixture
def inputs(tiny_encoder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    batch = load_tokenizer(tiny_encoder)(TEXTS, padding=True, return_tensors="pt")
    return batch.input_ids, batch.attention_mask


def test_rows_are_routed_to_their_domains_head(model: MultiDomainClassifier, inputs: tuple[torch.Tensor, ...]) -> None:
    """A head picked by position instead of by domain id gives plausible accuracy in a balanced batch."""
    by_domain = [model(*inputs, torch.full((3,), domain)).logits for domain in (0, 1)]
    mixed = model(*inputs, torch.tensor([1, 0, 1])).logits
    torch.testing.assert_close(mixed, torch.stack([by_domain[1][0], by_domain[0][1], by_domain[1][2]]))
    assert not torch.allclose(by_domain[0], by_domain[1])


def test_unknown_domain_averages_probabilities(model: MultiDomainClassifier, inputs: tuple[torch.Tensor, ...]) -> None:
    """Index -1 would otherwise quietly pick the last domain's head."""
    probabilities = [model(*inputs, torch.full((3,), domain)).logits.softmax(-1) for domain in (0, 1)]
    unknown = model(*inputs, torch.full((3,), -1)).logits.softmax(-1)
    torch.testing.assert_close(unknown, (probabilities[0] + probabilities[1]) / 2)


def test_token_types_follow_the_separator(tiny_encoder: Path) -> None:
    """Without token types a sentence pair reads as one text; accuracy drops without any error."""
    tokenizer = load_tokenizer(tiny_encoder)
    config = ClassifierConfig(("a",), ("neg", "pos"), 32, text_pairs=True, separator_id=tokenizer.sep_token_id)
    pairs = MultiDomainClassifier(load_encoder(str(tiny_encoder)), config)
    batch = tokenizer(TEXTS, TEXTS[::-1], padding=True, return_tensors="pt")
    derived = pairs._token_types(batch.input_ids)["token_type_ids"] * batch.attention_mask
    torch.testing.assert_close(derived, batch.token_type_ids)


def test_a_saved_model_loads_equal(
    model: MultiDomainClassifier, inputs: tuple[torch.Tensor, ...], tiny_encoder: Path, tmp_path: Path
) -> None:
    """A pooler or head that is not saved comes back random, with a loadable file."""
    save_classifier(model, load_tokenizer(tiny_encoder), tmp_path)
    loaded = load_classifier(tmp_path)
    domains = torch.tensor([0, 1, -1])
    torch.testing.assert_close(loaded(*inputs, domains).logits, model(*inputs, domains).logits)
    assert loaded.config == CONFIG


def test_damaged_folders_are_refused(model: MultiDomainClassifier, tiny_encoder: Path, tmp_path: Path) -> None:
    """Each damage must stop before training, with the folder's name in the message."""
    with pytest.raises(CheckpointError, match="does not exist"):
        load_classifier(tmp_path / "absent")
    with pytest.raises(CheckpointError, match=r"no classifier\.json"):
        load_classifier(tiny_encoder)
    save_classifier(model, load_tokenizer(tiny_encoder), tmp_path)
    state = {name: tensor.clone() for name, tensor in load_file(tmp_path / WEIGHTS).items()}
    (tmp_path / WEIGHTS).write_bytes(b"not a safetensors file")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_classifier(tmp_path)
    del state["head_bias"]
    save_file(state, tmp_path / WEIGHTS)
    with pytest.raises(CheckpointError, match="head_bias"):
        load_classifier(tmp_path)


def test_inputs_longer_than_the_position_table_are_refused(tiny_encoder: Path) -> None:
    """Indexing past the table fails at the first long text, which may come after an hour."""
    config = ClassifierConfig(("books", "films"), ("neg", "pos"), 65)
    with pytest.raises(RecipeError, match="has only 64 positions"):
        MultiDomainClassifier(load_encoder(str(tiny_encoder)), config)


def test_encoder_with_missing_weights_is_refused(tiny_encoder: Path, tmp_path: Path) -> None:
    """Transformers only warns about newly initialised layers; training would go on with random ones."""
    (tmp_path / "config.json").write_text((tiny_encoder / "config.json").read_text())
    state = load_file(tiny_encoder / WEIGHTS)
    del state["encoder.layer.1.attention.self.query.weight"]
    save_file(state, tmp_path / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="lacks 1 weights"):
        load_encoder(str(tmp_path))

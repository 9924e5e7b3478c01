"""Model folders as training leaves them, tiny and random, and their fp32 graphs; made once per session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModel,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    PretrainedConfig,
    RobertaConfig,
)

from hrkd.bundle import EvalExample, write_eval
from hrkd.models import ClassifierConfig, MultiDomainClassifier, load_classifier, load_tokenizer, save_classifier
from hrkd_export.to_onnx import export_onnx
from tiny import DOMAINS, make_rows

LABELS = ("neg", "pos")
MAX_LENGTH = 48
SIZES = {"vocab_size": 96, "initializer_range": 0.2}
BERT_SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
ENCODERS: dict[str, Callable[[], PretrainedConfig]] = {
    "bert": lambda: BertConfig(**SIZES, **BERT_SIZES, max_position_embeddings=64),
    "roberta": lambda: RobertaConfig(**SIZES, **BERT_SIZES, max_position_embeddings=66, pad_token_id=0),
    "electra": lambda: ElectraConfig(**SIZES, **BERT_SIZES, embedding_size=16, max_position_embeddings=64),
    "distilbert": lambda: DistilBertConfig(
        **SIZES, dim=32, n_layers=2, n_heads=4, hidden_dim=64, max_position_embeddings=64
    ),
}

MakeCheckpoint = Callable[..., Path]


@pytest.fixture(scope="session")
def make_checkpoint(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeCheckpoint:
    """Return a builder of model folders: `make_checkpoint("bert", text_pairs=False)`."""

    def build(encoder: str = "bert", *, text_pairs: bool = False, config: PretrainedConfig | None = None) -> Path:
        tokenizer = load_tokenizer(tiny_encoder)
        torch.manual_seed(0)
        classifier = MultiDomainClassifier(
            AutoModel.from_config(config or ENCODERS[encoder]()),
            ClassifierConfig(DOMAINS, LABELS, MAX_LENGTH, text_pairs, separator_id=tokenizer.sep_token_id),
        )
        torch.nn.init.normal_(classifier.head_weight, std=1.0)
        torch.nn.init.normal_(classifier.pooler.weight, std=0.2)
        for parameter in classifier.parameters():  # training leaves no two biases equal
            parameter.data += 0.05 * torch.randn_like(parameter)
        examples = make_examples(text_pairs=text_pairs)
        if config is None:
            center_predictions(classifier.eval(), tokenizer, examples)
        folder = tmp_path_factory.mktemp("checkpoint") / encoder
        folder.mkdir()
        save_classifier(classifier, tokenizer, folder)
        write_eval(folder, examples)
        return folder

    return build


@torch.no_grad()
def center_predictions(classifier: MultiDomainClassifier, tokenizer, examples: list[EvalExample]) -> None:
    """Shift every head's bias so that both labels are predicted: a random head prefers one of them always."""
    encoded = tokenizer([example.text for example in examples], padding=True, return_tensors="pt")
    for domain in range(classifier.num_domains):
        domain_ids = torch.full((len(examples),), domain)
        logits = classifier(encoded["input_ids"], encoded["attention_mask"], domain_ids).logits
        classifier.head_bias[domain] -= logits.median(dim=0).values


def make_examples(*, text_pairs: bool) -> list[EvalExample]:
    """Return labelled texts of every domain; the made-up teacher is right on four of five."""
    rows = make_rows(per_domain=20)
    return [
        EvalExample(
            text=row["text"],
            text_pair=rows[-position]["text"] if text_pairs else None,
            label=row["label"],
            domain=row["domain"],
            teacher_logits=(-1.0, 1.0) if (row["label"] == "pos") == (position % 5 > 0) else (1.0, -1.0),
        )
        for position, row in enumerate(rows)
    ]


@pytest.fixture(scope="session")
def checkpoint(make_checkpoint: MakeCheckpoint) -> Path:
    """A tiny BERT classifier over three domains."""
    return make_checkpoint("bert")


@pytest.fixture(scope="session")
def pair_checkpoint(make_checkpoint: MakeCheckpoint) -> Path:
    """The same for text pairs."""
    return make_checkpoint("bert", text_pairs=True)


@pytest.fixture(scope="session", params=list(ENCODERS))
def exported(
    request: pytest.FixtureRequest, make_checkpoint: MakeCheckpoint, tmp_path_factory: pytest.TempPathFactory
) -> tuple[MultiDomainClassifier, Path]:
    """A classifier of each supported architecture with its fp32 graph."""
    classifier = load_classifier(make_checkpoint(request.param), attention="eager")
    path = tmp_path_factory.mktemp("graph") / f"{request.param}.onnx"
    export_onnx(classifier, path, opset=17)
    return classifier, path


@pytest.fixture(scope="session")
def bert_graph(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fp32 graph of `checkpoint`."""
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    export_onnx(load_classifier(checkpoint, attention="eager"), path, opset=17)
    return path

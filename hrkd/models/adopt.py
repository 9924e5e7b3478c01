"""Taking over a classifier that the user fine-tuned with Hugging Face: its encoder, its pooler, and its head for all.

Example: a ``BertForSequenceClassification`` folder becomes a :class:`MultiDomainClassifier` whose K heads are equal at
first; its logits are the original's in every domain.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel
from transformers.utils import logging as transformers_logging

from hrkd.errors import CheckpointError, first_line
from hrkd.models.classifier import ACTIVATIONS, Activation, ClassifierConfig, MultiDomainClassifier
from hrkd.models.encoder import resolve_base
from hrkd.models.per_domain import PerDomainClassifier
from hrkd.models.storage import load_tokenizer


def adopt_classifier(source: str, config: ClassifierConfig) -> MultiDomainClassifier:
    """Load an ordinary single-head sequence classifier as a multi-domain teacher.

    Args:
        source: Folder or Hub id.
        config: Domains, labels and limits of the data; labels are matched by name.

    Raises:
        CheckpointError: It cannot be loaded, has no trained head, has other labels, or an unknown kind of head.
    """
    original = _load(source)
    dense, projection, activation = _head_parts(original, source)
    rows = _label_rows(original, config, source)
    adopted_config = ClassifierConfig(
        domain_names=config.domain_names,
        label_names=config.label_names,
        max_length=config.max_length,
        text_pairs=config.text_pairs,
        separator_id=config.separator_id,
        activation=activation,
    )
    model = MultiDomainClassifier(cast("PreTrainedModel", original.base_model), adopted_config)
    with torch.no_grad():
        model.pooler.load_state_dict(dense.state_dict())
        model.head_weight.copy_(projection.weight[rows].expand_as(model.head_weight))
        model.head_bias.copy_(projection.bias[rows].expand_as(model.head_bias))
    return model.eval()


def adopt_per_domain(sources: Mapping[str, str], config: ClassifierConfig) -> PerDomainClassifier:
    """Load one ordinary classifier per domain as one teacher.

    Args:
        sources: Folder or Hub id of each domain.
        config: Domains, labels and limits of the data.

    Raises:
        CheckpointError: Not exactly the data's domains are named, the members differ in shape or read different
            tokens, or one of them cannot be adopted.
    """
    if set(sources) != set(config.domain_names):
        raise CheckpointError(
            f"`teacher.adopt` names the domains {sorted(sources)}, the data has {sorted(config.domain_names)}"
        )
    vocabularies = {name: load_tokenizer(source).backend_tokenizer.to_str() for name, source in sources.items()}
    first = config.domain_names[0]
    for name, vocabulary in vocabularies.items():
        if vocabulary != vocabularies[first]:
            raise CheckpointError(
                f"the classifiers of `{first}` and `{name}` have different tokenizers",
                hint="a student can read only one; bring classifiers with one tokenizer",
            )
    return PerDomainClassifier([adopt_classifier(sources[name], config) for name in config.domain_names]).eval()


def _load(source: str) -> PreTrainedModel:
    transformers_logging.set_verbosity_error()
    try:
        model, info = AutoModelForSequenceClassification.from_pretrained(
            resolve_base(source), use_safetensors=True, output_loading_info=True, dtype="float32"
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"classifier `{source}` cannot be loaded: {first_line(error)}") from error
    if info["missing_keys"]:
        raise CheckpointError(
            f"`{source}` lacks trained weights, first `{sorted(info['missing_keys'])[0]}`: it is not a classifier",
            hint="train a teacher on it with `teacher.base` instead of `teacher.adopt`",
        )
    return cast("PreTrainedModel", model)


def _head_parts(model: PreTrainedModel, source: str) -> tuple[nn.Linear, nn.Linear, Activation]:
    """Return the pooling map, the output map and the non-linearity between them, however the family calls them."""
    pooler = getattr(model.base_model, "pooler", None) or getattr(model, "pooler", None)
    head: Any = getattr(model, "classifier", None)
    if hasattr(head, "dense") and hasattr(head, "out_proj"):
        activation: Activation = "gelu" if model.config.model_type == "electra" else "tanh"
        return head.dense, head.out_proj, activation
    if isinstance(head, nn.Linear) and hasattr(model, "pre_classifier"):
        return cast("nn.Linear", model.pre_classifier), head, "relu"
    if isinstance(head, nn.Linear) and pooler is not None and hasattr(pooler, "dense"):
        pooler_activation = getattr(model.config, "pooler_hidden_act", "tanh")  # DeBERTa lets it be chosen
        if pooler_activation in ACTIVATIONS:
            return pooler.dense, head, cast("Activation", pooler_activation)
    raise CheckpointError(
        f"the head of `{source}` ({type(model).__name__}) has an unknown form",
        hint="supported: BERT, RoBERTa, DistilBERT, ELECTRA, MPNet and DeBERTa sequence classifiers",
    )


def _label_rows(model: PreTrainedModel, config: ClassifierConfig, source: str) -> list[int]:
    """Return, for each of our label ids, the row of the original head that predicts it."""
    id2label = model.config.id2label or {}
    names = [str(id2label[row]) for row in range(model.config.num_labels)]
    if len(names) != len(config.label_names):
        raise CheckpointError(
            f"`{source}` has {len(names)} labels {names}, the data has {list(config.label_names)}",
            hint="bring a classifier of the same task",
        )
    if all(name == f"LABEL_{row}" for row, name in enumerate(names)):
        return list(range(len(names)))
    by_name = {name.casefold(): row for row, name in enumerate(names)}
    missing = [label for label in config.label_names if label.casefold() not in by_name]
    if missing:
        raise CheckpointError(
            f"`{source}` has the labels {names}, the data has {list(config.label_names)}",
            hint="rename the labels of one so that they match",
        )
    return [by_name[label.casefold()] for label in config.label_names]

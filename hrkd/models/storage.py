"""Model folders: classifier.json, config.json, model.safetensors, and the tokenizer's files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerFast

from hrkd.artifact import read_json, write_json
from hrkd.errors import ArtifactError, CheckpointError, first_line
from hrkd.model_folder import CLASSIFIER, MEMBERS, WEIGHTS, is_per_domain
from hrkd.models.classifier import ACTIVATIONS, ClassifierConfig, MultiDomainClassifier
from hrkd.models.encoder import build_encoder, read_config, resolve_base
from hrkd.models.per_domain import PerDomainClassifier
from hrkd.tensors import load_tensors, save_tensors

SCHEMA_VERSION = 1

Teacher = MultiDomainClassifier | PerDomainClassifier


def save_classifier(model: Teacher, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write a model folder; call inside :func:`hrkd.artifact.new_folder` so that it appears complete or not at all."""
    write_json(folder / CLASSIFIER, {"schema_version": SCHEMA_VERSION, **asdict(model.config)})
    model.encoder_config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if isinstance(model, PerDomainClassifier):
        for domain, member in enumerate(model.members):
            member_folder = folder / MEMBERS / str(domain)
            member_folder.mkdir(parents=True)
            save_classifier(member, tokenizer, member_folder)  # type: ignore[arg-type]
        return
    save_tensors(model.state_dict(), folder / WEIGHTS)


def load_classifier(folder: Path, *, attention: str = "sdpa") -> MultiDomainClassifier:
    """Load a model folder in float32 on the CPU, in evaluation mode.

    Args:
        folder: Written by :func:`save_classifier`.
        attention: Attention implementation: ``sdpa`` to run, ``eager`` to export.

    Raises:
        CheckpointError: Missing, damaged, or its weights do not fit its configuration.
    """
    config = read_classifier_config(folder)
    if is_per_domain(folder):
        raise CheckpointError(
            f"`{folder}` is one classifier per domain, not one model", hint="distil it; only its student is one graph"
        )
    model = MultiDomainClassifier(build_encoder(read_config(folder), attention=attention), config)
    state = load_tensors(folder / WEIGHTS, hint="make the model again")
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).split("\n")[1].strip() if "\n" in str(error) else str(error)
        raise CheckpointError(f"the weights in `{folder}` do not fit its configuration: {reason}") from error
    return model.eval()


def load_teacher(folder: Path) -> Teacher:
    """Load a teacher of either form: one model for all domains, or one per domain.

    Raises:
        CheckpointError: See :func:`load_classifier`.
    """
    config = read_classifier_config(folder)
    if not is_per_domain(folder):
        return load_classifier(folder)
    domains = range(len(config.domain_names))
    return PerDomainClassifier([load_classifier(folder / MEMBERS / str(domain)) for domain in domains]).eval()


def read_classifier_config(folder: Path) -> ClassifierConfig:
    """Read classifier.json.

    Raises:
        CheckpointError: The folder does not exist, is not a model folder, or is of another schema.
    """
    if not folder.is_dir():
        raise CheckpointError(f"model folder `{folder}` does not exist", hint="`hrkd teacher RECIPE` makes a teacher")
    if not (folder / CLASSIFIER).is_file():
        raise CheckpointError(
            f"`{folder}` has no {CLASSIFIER}, so hrkd did not write it",
            hint="a Hugging Face classifier is taken over with `teacher.adopt` in the recipe",
        )
    try:
        value: dict[str, Any] = dict(read_json(folder / CLASSIFIER))
    except (ArtifactError, TypeError, ValueError) as error:
        raise CheckpointError(f"`{folder / CLASSIFIER}` cannot be read: {error}") from error
    version = value.pop("schema_version", None)
    if version != SCHEMA_VERSION:
        raise CheckpointError(f"`{folder / CLASSIFIER}` has schema version {version!r}, expected {SCHEMA_VERSION}")
    for name in ("domain_names", "label_names"):
        value[name] = tuple(value.get(name, ()))
    try:
        config = ClassifierConfig(**value)
    except TypeError as error:
        raise CheckpointError(f"`{folder / CLASSIFIER}` is not a classifier description: {error}") from error
    if config.activation not in ACTIVATIONS:
        raise CheckpointError(f"`{folder / CLASSIFIER}`: unknown activation {config.activation!r}")
    return config


def load_tokenizer(base: str | Path) -> PreTrainedTokenizerFast:
    """Load the fast tokenizer of a model folder, a pretrained base or a Hub id.

    Raises:
        CheckpointError: There is none, it is empty, or it has no fast version.
    """
    source = resolve_base(str(base))
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, use_fast=True)
    except Exception as error:  # a damaged tokenizer.json raises nothing more precise
        raise CheckpointError(f"the tokenizer of `{base}` cannot be loaded: {first_line(error)}") from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise CheckpointError(f"`{base}` has no fast tokenizer", hint="the bundle needs a tokenizer.json")
    if len(tokenizer) <= len(tokenizer.all_special_ids):  # transformers 5 makes one up where there are no files
        raise CheckpointError(f"`{base}` has no tokenizer: no word pieces but the special ones")
    return tokenizer

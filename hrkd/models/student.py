"""Building the student: its shape from the recipe, its first weights from the teacher, a checkpoint, or chance."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from hrkd.errors import RecipeError
from hrkd.models.classifier import MultiDomainClassifier
from hrkd.models.encoder import build_encoder, load_encoder, read_config, resolve_base
from hrkd.models.layer_map import resolve_layer_map
from hrkd.models.per_domain import PerDomainClassifier
from hrkd.models.pruning import prune_teacher
from hrkd.models.shape import intermediate_size, set_dropout, student_shape
from hrkd.models.storage import Teacher, load_tokenizer
from hrkd.models.tokenizers import check_same_tokenizer, other_tokenizer
from hrkd.recipe import StudentConfig, StudentInit


def build_student(teacher: Teacher, config: StudentConfig, tokenizer: PreTrainedTokenizerFast | None = None) -> Teacher:
    """Return a fresh student for ``teacher``.

    Args:
        teacher: Trained model of either form.
        config: Shape and origin of the weights.
        tokenizer: The teacher's; given, a checkpoint's tokenizer is compared with it, otherwise only the number of word
            pieces is.

    Returns:
        One model for all domains, or with ``config.per_domain`` one per domain: independent parameters, equal at first.

    Raises:
        RecipeError: The shape is impossible, does not go with the way of initialising, or the tokenizers differ.
        CheckpointError: ``config.checkpoint`` cannot be loaded.
    """
    if not config.per_domain:
        return _build_one(teacher, config, tokenizer)
    first = _build_one(teacher, config, tokenizer)
    return PerDomainClassifier([first, *(copy.deepcopy(first) for _ in range(teacher.num_domains - 1))])


def _build_one(
    teacher: Teacher, config: StudentConfig, tokenizer: PreTrainedTokenizerFast | None
) -> MultiDomainClassifier:
    if config.init is StudentInit.CHECKPOINT:
        return _from_checkpoint(teacher, config, tokenizer)
    shape = student_shape(teacher.encoder_config, config)
    if config.init is StudentInit.RANDOM:
        return MultiDomainClassifier(build_encoder(shape), dataclasses.replace(teacher.config))
    if not isinstance(teacher, MultiDomainClassifier):
        raise RecipeError(
            "a teacher of one classifier per domain has no shared layers to copy",
            hint="use `student.init: checkpoint` (or `random`)",
        )
    layers = resolve_layer_map(
        config.teacher_layers, shape.num_hidden_layers, teacher.num_layers, key="student.teacher_layers"
    )
    prefix = layer_prefix(teacher)
    if config.init is StudentInit.PRUNED_TEACHER:
        weights = prune_teacher(teacher, shape, layers, prefix)
    else:
        _check_copyable(teacher.encoder_config, shape)
        weights = teacher.state_dict()
    student = MultiDomainClassifier(build_encoder(shape), dataclasses.replace(teacher.config))
    student.load_state_dict(_renumbered(weights, student, layers, prefix))
    return student


def layer_prefix(model: MultiDomainClassifier) -> str:
    """Return what the names of all layer weights start with: the longest list of modules holds the layers."""
    lists = [(len(module), name) for name, module in model.encoder.named_modules() if isinstance(module, nn.ModuleList)]
    return f"encoder.{max(lists)[1]}."


def _from_checkpoint(
    teacher: Teacher, config: StudentConfig, tokenizer: PreTrainedTokenizerFast | None
) -> MultiDomainClassifier:
    checkpoint = str(config.checkpoint)
    if config.own_tokenizer:
        own_separator = int(load_tokenizer(checkpoint).sep_token_id or 0)
        return MultiDomainClassifier(
            _load(checkpoint, config), dataclasses.replace(teacher.config, separator_id=own_separator)
        )
    if tokenizer is not None:
        check_same_tokenizer(tokenizer, checkpoint)
    encoder = _load(checkpoint, config)
    expected, found = teacher.encoder_config.vocab_size, encoder.config.vocab_size
    if tokenizer is None and found != expected:
        raise other_tokenizer(checkpoint, f"{found} word pieces", f"{expected} word pieces")
    return MultiDomainClassifier(encoder, dataclasses.replace(teacher.config))


def _load(checkpoint: str, config: StudentConfig) -> PreTrainedModel:
    """Load a checkpoint with the recipe's dropout."""
    if config.dropout is None:
        return load_encoder(checkpoint)
    shape = read_config(Path(resolve_base(checkpoint)))
    set_dropout(shape, config.dropout)
    return load_encoder(checkpoint, config=shape)


def _check_copyable(teacher: PretrainedConfig, student: PretrainedConfig) -> None:
    for key, own, wanted in (
        ("hidden_size", student.hidden_size, teacher.hidden_size),
        ("intermediate_size", intermediate_size(student), intermediate_size(teacher)),
    ):
        if own != wanted:
            raise RecipeError(
                f"`student.{key}` is {own}, the teacher's is {wanted}: its layers cannot be copied",
                hint="use `init: pruned_teacher`, `checkpoint` or `random`, or the teacher's number",
            )


def _renumbered(
    weights: Mapping[str, Tensor], student: MultiDomainClassifier, layers: tuple[int, ...], prefix: str
) -> dict[str, Tensor]:
    """Give the chosen teacher layers the student's layer numbers; everything that is no layer keeps its name."""
    wanted = {}
    for name in student.state_dict():
        source = name
        if name.startswith(prefix):
            index, rest = name.removeprefix(prefix).split(".", 1)
            source = f"{prefix}{layers[int(index)] - 1}.{rest}"
        wanted[name] = weights[source]
    return wanted

"""Building the student: its shape from the recipe, its first weights from the teacher, a checkpoint, or chance."""

from __future__ import annotations

import copy
import dataclasses

from torch import nn
from transformers import PretrainedConfig

from hrkd.errors import RecipeError
from hrkd.models.classifier import MultiDomainClassifier
from hrkd.models.encoder import build_encoder, load_encoder
from hrkd.models.layer_map import resolve_layer_map
from hrkd.models.storage import Teacher
from hrkd.recipe import StudentConfig, StudentInit


def build_student(teacher: Teacher, config: StudentConfig) -> MultiDomainClassifier:
    """Return a fresh student for ``teacher``.

    Raises:
        RecipeError: The shape is impossible, or does not go with the way of initialising.
        CheckpointError: ``config.checkpoint`` cannot be loaded.
    """
    student_config = dataclasses.replace(teacher.config)
    if config.init is StudentInit.CHECKPOINT:
        encoder = load_encoder(str(config.checkpoint))
        _check_vocabulary(teacher.encoder_config, encoder.config, str(config.checkpoint))
        return MultiDomainClassifier(encoder, student_config)
    encoder_config = _shape(teacher.encoder_config, config)
    if config.init is StudentInit.RANDOM:
        return MultiDomainClassifier(build_encoder(encoder_config), student_config)
    if encoder_config.hidden_size != teacher.hidden_size:
        raise RecipeError(
            f"`student.hidden_size` is {encoder_config.hidden_size}, the teacher's is {teacher.hidden_size}: "
            "its layers cannot be copied",
            hint="use `init: random` or `init: checkpoint`, or leave `hidden_size` out",
        )
    if not isinstance(teacher, MultiDomainClassifier):
        raise RecipeError(
            "a teacher of one classifier per domain has no shared layers to copy",
            hint="use `student.init: checkpoint` (or `random`)",
        )
    student = MultiDomainClassifier(build_encoder(encoder_config), student_config)
    layers = resolve_layer_map(
        config.teacher_layers, student.num_layers, teacher.num_layers, key="student.teacher_layers"
    )
    _copy_layers(teacher, student, layers)
    return student


def _shape(teacher: PretrainedConfig, config: StudentConfig) -> PretrainedConfig:
    """Return the teacher's encoder configuration with the student's numbers in it."""
    shape = copy.deepcopy(teacher)
    hidden_size = config.hidden_size or teacher.hidden_size
    shape.num_hidden_layers = config.layers
    shape.num_attention_heads = config.attention_heads or teacher.num_attention_heads
    if hidden_size % shape.num_attention_heads:
        raise RecipeError(
            f"`student.hidden_size` {hidden_size} is not a multiple of {shape.num_attention_heads} attention heads"
        )
    ratio = teacher.intermediate_size / teacher.hidden_size
    shape.intermediate_size = config.intermediate_size or round(hidden_size * ratio)
    shape.hidden_size = hidden_size
    return shape


def _copy_layers(teacher: MultiDomainClassifier, student: MultiDomainClassifier, layers: tuple[int, ...]) -> None:
    """Copy embeddings, the chosen layers, pooler and heads; everything that is not a layer keeps its name."""
    source = teacher.state_dict()
    prefix = _layer_prefix(teacher.encoder)
    wanted = {}
    for name in student.state_dict():
        if name.startswith(prefix):
            index, rest = name.removeprefix(prefix).split(".", 1)
            wanted[name] = source[f"{prefix}{layers[int(index)] - 1}.{rest}"]
        else:
            wanted[name] = source[name]
    student.load_state_dict(wanted)


def _layer_prefix(encoder: nn.Module) -> str:
    """Return the state-dict prefix of the encoder's layer list: the longest ModuleList."""
    lists = [(len(module), name) for name, module in encoder.named_modules() if isinstance(module, nn.ModuleList)]
    return f"encoder.{max(lists)[1]}."


def _check_vocabulary(teacher: PretrainedConfig, student: PretrainedConfig, checkpoint: str) -> None:
    if teacher.vocab_size != student.vocab_size:
        raise RecipeError(
            f"`student.checkpoint` {checkpoint} has {student.vocab_size} word pieces, the teacher has "
            f"{teacher.vocab_size}: student and teacher must read the same tokens",
            hint="choose a student checkpoint with the teacher's tokenizer",
        )

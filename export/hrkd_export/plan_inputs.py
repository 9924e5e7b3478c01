"""What `hrkd plan` starts from: a teacher's folder and shape, and the evaluation texts."""

from __future__ import annotations

from pathlib import Path

from transformers import PretrainedConfig

from hrkd.bundle import EvalExample
from hrkd.data.dataset import DomainDataset
from hrkd.errors import CheckpointError
from hrkd.models.encoder import resolve_base
from hrkd.plan_shape import FP32, Shape
from hrkd.recipe import ExportConfig, Quantization, Recipe, StudentConfig, StudentInit

NUMBERS = ("layers", "hidden_size", "attention_heads", "intermediate_size")
"""Fields of a student's section that a shape decides."""


def shape_of(config: PretrainedConfig, precision: str) -> Shape:
    """Return the shape of an encoder's configuration."""
    inner = config.hidden_dim if config.model_type == "distilbert" else config.intermediate_size
    return Shape(config.num_hidden_layers, config.hidden_size, config.num_attention_heads, inner, precision=precision)


def precision_of(config: ExportConfig) -> str:
    """Return the precision that a recipe asks for; of a choice among several, the one that every target has."""
    if config.quantize is None:
        return FP32
    return Quantization.INT8.value if config.quantize is Quantization.AUTO else config.quantize.value


def config_of(shape: Shape) -> StudentConfig:
    """Return the recipe's section for a student of this shape with random weights."""
    return StudentConfig(
        layers=shape.layers,
        hidden_size=shape.hidden_size,
        attention_heads=shape.attention_heads,
        intermediate_size=shape.intermediate_size,
        init=StudentInit.RANDOM,
    )


def teacher_folder(recipe: Recipe) -> Path:
    """Return the folder of the recipe's teacher before it is trained.

    Raises:
        CheckpointError: It stands on the Hub, whose files are not here before the teacher is trained.
    """
    adopted = recipe.teacher.adopt
    source = next(iter(adopted.values())) if isinstance(adopted, dict) else adopted or recipe.teacher.base
    folder = Path(resolve_base(str(source)))
    if not folder.is_dir():
        raise CheckpointError(
            f"the teacher's base `{source}` is no local folder, so its shape cannot be read before training",
            hint="give the model folder of a trained teacher instead of the recipe",
        )
    return folder


def evaluation_examples(dataset: DomainDataset) -> list[EvalExample]:
    """Return all test texts as a bundle carries them; the teacher's logits are made up."""
    test, logits = dataset.test, (0.0,) * len(dataset.label_names)
    pairs = test.text_pairs or (None,) * len(test)
    return [
        EvalExample(
            text=text,
            text_pair=pair,
            label=dataset.label_names[label],
            domain=dataset.domain_names[domain],
            teacher_logits=logits,
        )
        for text, pair, label, domain in zip(test.texts, pairs, test.labels, test.domains, strict=True)
    ]

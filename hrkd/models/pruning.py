"""A narrower student cut out of the teacher's weights: the most important hidden features, heads and neurons stay.

Importance is read from the weights alone: how much each part can contribute to what its consumers read. Every choice
keeps the teacher's order, so a student of the teacher's width is an exact copy. Structured pruning by importance, as
first weights of a student: arXiv 2310.06694, 2407.14679.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PretrainedConfig

from hrkd.errors import RecipeError
from hrkd.models.classifier import MultiDomainClassifier
from hrkd.models.shape import intermediate_size


class LayerNames(NamedTuple):
    """How a family calls the parts of a layer."""

    query: str
    key: str
    value: str
    attention_output: str
    attention_norm: str
    feed_in: str
    feed_out: str
    feed_norm: str


_BERT = LayerNames(
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "attention.output.LayerNorm",
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
)
_DISTILBERT = LayerNames(
    "attention.q_lin",
    "attention.k_lin",
    "attention.v_lin",
    "attention.out_lin",
    "sa_layer_norm",
    "ffn.lin1",
    "ffn.lin2",
    "output_layer_norm",
)
FAMILIES = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert", "electra"), _BERT),
    "distilbert": _DISTILBERT,
}
"""Model types that can be pruned: encoders of the BERT kind, layer norm after each part, nothing shared by layers."""

EMBEDDINGS = "encoder.embeddings."
EMBEDDING_PROJECTION = "encoder.embeddings_project"
"""ELECTRA: between embeddings of another width and the first layer."""


def prune_teacher(
    teacher: MultiDomainClassifier, shape: PretrainedConfig, layers: tuple[int, ...], prefix: str
) -> dict[str, Tensor]:
    """Return weights of the student's width, still under the teacher's names and layer numbers.

    Args:
        teacher: Trained model of a family in :data:`FAMILIES`.
        shape: Of the student's encoder, in no number larger than the teacher's.
        layers: 1-based teacher layers to keep.
        prefix: What the names of all layer weights start with.

    Raises:
        RecipeError: The family cannot be pruned, or the student is wider than the teacher somewhere.
    """
    _check(teacher.encoder_config, shape)
    with torch.no_grad():
        return _Pruner(teacher, shape, layers, prefix).weights()


def _check(teacher: PretrainedConfig, student: PretrainedConfig) -> None:
    others = "use `init: random`, `init: checkpoint`, or `init: teacher_layers` at the teacher's width"
    if teacher.model_type not in FAMILIES:
        raise RecipeError(
            f"a teacher of type `{teacher.model_type}` cannot be pruned; known types: {', '.join(sorted(FAMILIES))}",
            hint=others,
        )
    head_sizes = (config.hidden_size // config.num_attention_heads for config in (student, teacher))
    for what, own, most in (
        ("`student.hidden_size`", student.hidden_size, teacher.hidden_size),
        ("`student.attention_heads`", student.num_attention_heads, teacher.num_attention_heads),
        ("the student's head size (`hidden_size` / `attention_heads`)", *head_sizes),
        ("`student.intermediate_size`", intermediate_size(student), intermediate_size(teacher)),
    ):
        if own > most:
            raise RecipeError(f"{what} is {own}, the teacher's is {most}: pruning cannot widen", hint=others)
    embedding_size = getattr(teacher, "embedding_size", teacher.hidden_size)
    if embedding_size != teacher.hidden_size and embedding_size == student.hidden_size:
        raise RecipeError(
            f"`student.hidden_size` {embedding_size} equals the teacher's embedding size: the student would have no "
            "projection behind its embeddings, and the teacher's cannot be left out",
            hint=f"choose another `student.hidden_size` than {embedding_size}; {others}",
        )


class _Pruner:
    """The choices for one student. ``scale`` always is how strongly each hidden feature arrives at a reader, (H,)."""

    def __init__(
        self, teacher: MultiDomainClassifier, shape: PretrainedConfig, layers: tuple[int, ...], prefix: str
    ) -> None:
        self.state: Mapping[str, Tensor] = teacher.state_dict()
        self.names = FAMILIES[teacher.encoder_config.model_type]
        self.teacher_heads = int(teacher.encoder_config.num_attention_heads)
        self.shape = shape
        self.layers = layers
        self.prefix = prefix
        self.hidden = most_important(self._hidden_importance(), shape.hidden_size)

    def weights(self) -> dict[str, Tensor]:
        pruned = self._embeddings() | self._heads()
        for layer in self.layers:
            pruned |= self._attention(layer) | self._feed_forward(layer)
        return pruned

    def _layer(self, layer: int, part: str, kind: str = "weight") -> Tensor:
        return self.state[f"{self.prefix}{layer - 1}.{part}.{kind}"]

    def _input_scale(self, layer: int) -> Tensor:
        """Return the scale of what a teacher layer reads: its predecessor's norm, or the embeddings'."""
        if layer > 1:
            return self._layer(layer - 1, self.names.feed_norm).abs()
        norm = self.state[f"{EMBEDDINGS}LayerNorm.weight"].abs()
        projection = self.state.get(f"{EMBEDDING_PROJECTION}.weight")
        return norm if projection is None else (projection * norm).norm(dim=1)

    def _hidden_importance(self) -> Tensor:
        """Share of each hidden feature in what all chosen layers and the pooler read, (H,); readers count alike."""
        names = self.names
        total = _share(self.state["pooler.weight"], self._layer(self.layers[-1], names.feed_norm))
        for layer in self.layers:
            attention = torch.cat([self._layer(layer, part) for part in (names.query, names.key, names.value)])
            total = total + _share(attention, self._input_scale(layer))
            total = total + _share(self._layer(layer, names.feed_in), self._layer(layer, names.attention_norm))
        return total

    def _embeddings(self) -> dict[str, Tensor]:
        tables = {name: value for name, value in self.state.items() if name.startswith(EMBEDDINGS)}
        projection = {name: value for name, value in self.state.items() if name.startswith(EMBEDDING_PROJECTION)}
        if projection:
            return tables | {name: value[self.hidden] for name, value in projection.items()}
        return {name: value[..., self.hidden] for name, value in tables.items()}

    def _heads(self) -> dict[str, Tensor]:
        """The pooler's outputs are read by the heads only, so they are chosen apart from the hidden features."""
        scale = self._layer(self.layers[-1], self.names.feed_norm)[self.hidden]
        pooler, heads = self.state["pooler.weight"][:, self.hidden], self.state["head_weight"]
        decisive = heads - heads.mean(dim=1, keepdim=True)  # what all classes share decides nothing
        importance = (pooler * scale).norm(dim=1) * decisive.flatten(0, 1).norm(dim=0)
        kept = most_important(importance, self.shape.hidden_size)
        return {
            "pooler.weight": pooler[kept],
            "pooler.bias": self.state["pooler.bias"][kept],
            "head_weight": heads[..., kept],
            "head_bias": self.state["head_bias"],
        }

    def _attention(self, layer: int) -> dict[str, Tensor]:
        names, heads = self.names, self.teacher_heads
        scale = self._input_scale(layer)[self.hidden]
        # (A, d, H') each; the output map is read transposed, from head features to the hidden features they write.
        query, key, value = (self._layer(layer, part)[:, self.hidden].unflatten(0, (heads, -1)) for part in names[:3])
        output = self._layer(layer, names.attention_output)[self.hidden].T.unflatten(0, (heads, -1))
        head_size = self.shape.hidden_size // self.shape.num_attention_heads
        best_heads = most_important(head_importance(value * scale, output), self.shape.num_attention_heads)
        compared = most_important((query * scale).norm(dim=2) * (key * scale).norm(dim=2), head_size)[best_heads]
        mixed = most_important((value * scale).norm(dim=2) * output.norm(dim=2), head_size)[best_heads]
        first = best_heads.unsqueeze(1) * query.shape[1]  # where each head starts
        compared, mixed = (first + compared).flatten(), (first + mixed).flatten()
        # Scores are divided by sqrt(d): with a smaller d, the products that stay keep their weight.
        rescale = math.sqrt(head_size / query.shape[1])
        pruned = {
            **self._linear(layer, names.query, rows=compared, columns=self.hidden, factor=rescale),
            **self._linear(layer, names.key, rows=compared, columns=self.hidden),
            **self._linear(layer, names.value, rows=mixed, columns=self.hidden),
            **self._linear(layer, names.attention_output, rows=self.hidden, columns=mixed),
        }
        return pruned | self._norm(layer, names.attention_norm)

    def _feed_forward(self, layer: int) -> dict[str, Tensor]:
        names = self.names
        scale = self._layer(layer, names.attention_norm)[self.hidden]
        read = self._layer(layer, names.feed_in)[:, self.hidden] * scale
        written = self._layer(layer, names.feed_out)[self.hidden]
        kept = most_important(read.norm(dim=1) * written.norm(dim=0), intermediate_size(self.shape))
        return {
            **self._linear(layer, names.feed_in, rows=kept, columns=self.hidden),
            **self._linear(layer, names.feed_out, rows=self.hidden, columns=kept),
            **self._norm(layer, names.feed_norm),
        }

    def _linear(
        self, layer: int, part: str, *, rows: Tensor, columns: Tensor, factor: float = 1.0
    ) -> dict[str, Tensor]:
        name = f"{self.prefix}{layer - 1}.{part}"
        weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        return {f"{name}.weight": weight[rows][:, columns] * factor, f"{name}.bias": bias[rows] * factor}

    def _norm(self, layer: int, part: str) -> dict[str, Tensor]:
        name = f"{self.prefix}{layer - 1}.{part}"
        return {f"{name}.{kind}": self.state[f"{name}.{kind}"][self.hidden] for kind in ("weight", "bias")}


def most_important(importance: Tensor, count: int) -> Tensor:
    """Return where the ``count`` largest values of the last dimension stand, in rising order."""
    return importance.topk(count, dim=-1).indices.sort(dim=-1).values


def head_importance(value: Tensor, output: Tensor) -> Tensor:
    """Frobenius norm of what each head can write: of its value map followed by its output map.

    Args:
        value: (A, d, H).
        output: (A, d, H), transposed.

    Returns:
        (A,).
    """
    products = torch.matmul(value, value.transpose(1, 2)) * torch.matmul(output, output.transpose(1, 2))
    return products.sum(dim=(1, 2)).clamp(min=0).sqrt()


def _share(weight: Tensor, scale: Tensor) -> Tensor:
    """Share of each input feature of one map in the variance of its outputs, (H,), for independent features."""
    contribution = weight.square().sum(dim=0) * scale.square()
    return contribution / contribution.sum()

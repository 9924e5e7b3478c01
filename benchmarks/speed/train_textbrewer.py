"""TextBrewer's step, with its own classes: `pip install --target FOLDER textbrewer`, then put FOLDER on PYTHONPATH."""

from __future__ import annotations

# ruff: noqa: TID253  (training is what is measured here)
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hrkd.data.collate import TokenizedExamples
from hrkd.device import Device
from hrkd.models import MultiDomainClassifier
from hrkd.recipe import MethodConfig, TrainingConfig
from speed.train_eager import EagerClassifier
from speed.train_steps import Indices, Optimization, pad_to


def unavailable() -> str | None:
    """Return why TextBrewer cannot take part; None where it can."""
    try:
        import textbrewer  # noqa: F401
    except Exception as error:  # noqa: BLE001  (old code against new libraries: any error is the answer)
        return f"{type(error).__name__}: {error}"
    return None


class TextBrewerStep:
    """One turn of TextBrewer's training loop: its losses over a batch in which domains are mixed at random.

    Hidden states and attention scores are compared at the same layers as ours, by its `hidden_mse` and `attention_mse`
    with the mask, logits by its cross-entropy at the same temperature. It knows no domains, so nothing is weighed by
    them. Where attention is not compared, its models run with fused attention.

    Args:
        name: For the tables.
        teacher: Model to imitate.
        student: Model to train; copied where its attention has to be handed out.
        method: The weights.
        layer_map: Teacher layer, 1-based, of each student layer.
        examples: Tokenised texts.
        device: Where to run, and in which number format.
        config: Hyperparameters.
        folder: Its output folder.
        length: Every text is padded to it, as in its examples; None pads to the longest of the batch.
    """

    def __init__(
        self,
        name: str,
        teacher: MultiDomainClassifier,
        student: MultiDomainClassifier,
        method: MethodConfig,
        layer_map: Sequence[int],
        examples: TokenizedExamples,
        device: Device,
        config: TrainingConfig,
        folder: Path,
        length: int | None = None,
    ) -> None:
        from textbrewer import DistillationConfig, GeneralDistiller
        from textbrewer import TrainingConfig as BrewerTraining

        self.name, self.examples, self.device, self.length = name, examples, device, length
        scores = method.attention_weight > 0
        wrapper = EagerClassifier if scores else _Fused
        self.student = wrapper(student).to(device.device)
        frozen = wrapper(teacher).to(device.device).eval().requires_grad_(requires_grad=False)
        self.random = np.random.default_rng(0)
        self.distiller = GeneralDistiller(
            BrewerTraining(output_dir=str(folder), device=device.device),
            DistillationConfig(
                temperature=method.temperature,
                kd_loss_weight=method.prediction_weight,
                intermediate_matches=_matches(method, layer_map, student.hidden_size, teacher.hidden_size),
            ),
            frozen,
            self.student,
            _adapt,
            _adapt,
        )
        trained = torch.nn.ModuleList([self.student, *[one for one in self.distiller.projs if one is not None]])
        trained.train()
        self.optimization = Optimization(trained, config)

    def step(self, indices: Indices) -> None:
        """Do one step on as many random examples: a shuffled loader knows neither domains nor lengths."""
        chosen = self.random.choice(len(self.examples), size=len(indices), replace=False)
        batch = self.examples.batch(chosen)
        if self.length is not None:
            batch = pad_to(batch, self.length, self.examples.pad_id)
        inputs = {name: getattr(batch, name) for name in ("input_ids", "attention_mask", "domain_ids")}
        with self.device.autocast():
            loss, _ = self.distiller.train_on_batch(inputs, {})  # its log is left out: no contestant writes one
        self.optimization.apply(loss)


class _Fused(torch.nn.Module):
    """A classifier as TextBrewer calls it, attention fused and not handed out."""

    def __init__(self, classifier: MultiDomainClassifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, **inputs: torch.Tensor) -> Any:
        return self.classifier(**inputs, hidden_states=True)


def _adapt(batch: Mapping[str, torch.Tensor], outputs: Any) -> dict[str, Any]:
    """Name a model's outputs as TextBrewer wants them."""
    return {
        "logits": outputs.logits,
        "hidden": outputs.hidden_states,
        "attention": getattr(outputs, "scores", ()),
        "inputs_mask": batch["attention_mask"],
    }


def _matches(method: MethodConfig, layer_map: Sequence[int], own: int, wanted: int) -> list[dict[str, Any]]:
    levels = [(0, 0), *((layer, number) for number, layer in enumerate(layer_map, start=1))]
    matches: list[dict[str, Any]] = [
        {
            "layer_T": layer,
            "layer_S": number,
            "feature": "hidden",
            "loss": "hidden_mse",
            "weight": method.hidden_weight,
            "proj": ["linear", own, wanted],
        }
        for layer, number in levels
        if method.hidden_weight
    ]
    matches += [
        {
            "layer_T": layer - 1,
            "layer_S": number - 1,
            "feature": "attention",
            "loss": "attention_mse",
            "weight": method.attention_weight,
        }
        for layer, number in levels[1:]
        if method.attention_weight
    ]
    return matches

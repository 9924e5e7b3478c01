"""The steps of an export, in order, inside the folder that becomes the bundle."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from transformers import PretrainedConfig

from hrkd.artifact import StageRecord, folder_hash, hash_of, write_text
from hrkd.bundle import (
    CARD,
    MODEL,
    EncoderShape,
    Guard,
    Manifest,
    ReferenceMetrics,
    describe_files,
    write_eval,
    write_manifest,
)
from hrkd.bundle_card import render_card
from hrkd.engines import Logits
from hrkd.engines.providers import CPU
from hrkd.metrics import accuracy, agreement
from hrkd.models.shape import intermediate_size
from hrkd.recipe import ExportConfig, Recipe
from hrkd_export.facts import large_float_weights, read_facts
from hrkd_export.guard import Guarded
from hrkd_export.inputs import Role, inputs_hash, library_versions
from hrkd_export.model import ShippedModel
from hrkd_export.parity import check_logits
from hrkd_export.quality import answer, flips, invariance
from hrkd_export.quantizers.base import Made, Task
from hrkd_export.quantizers.dynamic import resolve_backend
from hrkd_export.quantizers.registry import Way, way_of
from hrkd_export.runtime_versions import check_operators, newest_opset
from hrkd_export.session import open_session, session_settings
from hrkd_export.target import Target, resolve_target
from hrkd_export.texts import GraphTexts
from hrkd_export.to_onnx import export_onnx

ANY_TARGET = "any"
"""The `target` of an fp32 bundle."""
LARGE_WEIGHT_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """The shipped graph.

    Attributes:
        made: What the quantiser says about it.
        guard: What the accuracy guard did; None without one.
        exact: Logits of the fp32 graph on the evaluation texts (n, C).
    """

    made: Made
    guard: Guard | None
    exact: Logits


@dataclass(frozen=True, slots=True)
class Build:
    """One export.

    Attributes:
        checkpoint: Model folder.
        config: What to do; ``config.quantize`` is one way, not ``auto``.
        role: What the bundle is called in comparisons.
        recipe: Of the run; leads to the training and validation texts.
        message: Receives one line per step.
    """

    checkpoint: Path
    config: ExportConfig
    role: Role
    recipe: Recipe | None
    message: Callable[[str], None]

    def write(self, folder: Path, *, record: StageRecord | None) -> Manifest:
        """Fill ``folder`` with the bundle's files and return its manifest; what can be refused is refused first."""
        way = None if self.config.quantize is None else way_of(self.config.quantize)
        check_operators(self.config.quantize, self.config.runtime_version)
        target = None if way is None else resolve_target(self.config.target, self.config.targets)
        calibrates = way is not None and way.calibrates
        model = ShippedModel.prepare(
            self.checkpoint, folder, self.config, self.recipe, calibrates=calibrates, message=self.message
        )
        write_eval(folder, model.examples)
        outcome = self._write_graph(folder / MODEL, model, way, target)
        manifest = self._manifest(folder, model, way, target, outcome, record)
        write_text(folder / CARD, render_card(manifest))
        manifest = replace(manifest, files=describe_files(folder))
        write_manifest(folder, manifest)
        return manifest

    def _write_graph(self, path: Path, model: ShippedModel, way: Way | None, target: Target | None) -> Outcome:
        """Export and verify in float first, whatever the precision asked for: int8 differences cannot be judged."""
        with TemporaryDirectory(prefix="hrkd-export-") as name:
            exact = Path(name) / MODEL
            opset = newest_opset(self.config.opset, self.config.runtime_version)
            self.message(f"exporting to ONNX (opset {opset})")
            export_onnx(model.classifier, exact, opset)
            difference = check_logits(model.classifier, model.tokenizer, exact, model.examples)
            self.message(f"verified against the model: logits differ by at most {difference:.1e}")
            logits = answer(open_session(exact), model.evaluation())
            if way is None or target is None:
                shutil.copyfile(exact, path)
                return Outcome(Made(), None, logits)
            self.message(f"quantising ({self.config.quantize}) for {target.name}")
            made, guard = self._quantize(self._task(exact, model, way, target), way, model, path)
        for note in made.notes:
            self.message(note)
        large = large_float_weights(path, LARGE_WEIGHT_BYTES) if way.precision != "fp16" else {}
        for weight, size in large.items():
            self.message(f"not quantised: `{weight}` keeps {size / 1e6:.1f} MB of floating-point weights")
        return Outcome(made, guard, logits)

    def _task(self, exact: Path, model: ShippedModel, way: Way, target: Target) -> Task:
        encoder = model.classifier.encoder_config
        texts = model.calibration(self.config.calibration_texts_per_domain) if way.calibrates else None
        return Task(
            source=exact,
            target=target,
            backend=resolve_backend(self.config.backend),
            calibration=texts.feeds() if texts is not None else (),
            heads=int(encoder.num_attention_heads),
            hidden_size=int(encoder.hidden_size),
        )

    def _quantize(self, task: Task, way: Way, model: ShippedModel, path: Path) -> tuple[Made, Guard | None]:
        limit, texts = self.config.max_drop_per_domain, model.validation()
        if limit is None or texts is None:
            return way.quantizer()(task, path), None
        exact = answer(open_session(task.source), texts)
        guarded = Guarded(way.quantizer(), way.ranking_quantizer(), way.engine, texts, exact, limit, self.message)
        return guarded.quantize(task, path)

    def _manifest(
        self,
        folder: Path,
        model: ShippedModel,
        way: Way | None,
        target: Target | None,
        outcome: Outcome,
        record: StageRecord | None,
    ) -> Manifest:
        names, engine = model.names, "onnxruntime" if way is None else way.engine
        texts, graph = model.evaluation(), open_session(folder / MODEL, engine)
        self.message(f"measuring the accuracy on {len(texts)} texts")
        logits = answer(graph, texts)
        teacher = np.array([example.teacher_logits for example in model.examples], dtype=np.float32)
        validation = model.validation()
        return Manifest(
            name=f"{self.role}-{self.config.quantize or 'fp32'}",
            role=self.role,
            precision="fp32" if way is None else way.precision,
            quantization=None if way is None else str(self.config.quantize),
            engine=engine,
            target=ANY_TARGET if target is None else target.name,
            backend=None if way is None else resolve_backend(self.config.backend).value,
            domain_names=names.domain_names,
            label_names=names.label_names,
            max_length=names.max_length,
            text_pairs=names.text_pairs,
            parents={
                "checkpoint": folder_hash(self.checkpoint),
                "inputs": inputs_hash(self.checkpoint, self.config, self.role),
            },
            recipe_hash=None if self.recipe is None else hash_of(self.recipe.model_dump(mode="json")),
            method=_method(record),
            versions=library_versions(),
            graph=read_facts(folder / MODEL),
            fusions=dict(outcome.made.fusions),
            reference=_reference(logits, teacher, texts),
            flips=None if way is None else flips(outcome.exact, logits, teacher, texts),
            invariance=invariance(graph, texts, model.padding_id),
            validation=None if validation is None else _accuracies(answer(graph, validation), validation),
            guard=outcome.guard,
            vocabulary=model.vocabulary,
            session=session_settings(engine, names.max_length, (CPU,) if target is None else target.providers),
            files=describe_files(folder),
            encoder=_encoder_shape(model.classifier.encoder_config),
        )


def _encoder_shape(config: PretrainedConfig) -> EncoderShape:
    return EncoderShape(
        layers=int(config.num_hidden_layers),
        hidden_size=int(config.hidden_size),
        attention_heads=int(config.num_attention_heads),
        intermediate_size=intermediate_size(config),
    )


def _accuracies(logits: Logits, texts: GraphTexts) -> dict[str, float]:
    return accuracy(logits.argmax(axis=1), texts.labels, texts.domains, texts.domain_names).domains


def _reference(logits: Logits, teacher: Logits, texts: GraphTexts) -> ReferenceMetrics:
    """Return the accuracy of the finished graph: what a device's result is compared with."""
    predictions = logits.argmax(axis=1)
    scores = accuracy(predictions, texts.labels, texts.domains, texts.domain_names)
    return ReferenceMetrics(
        average=scores.average,
        worst=scores.worst,
        domains=scores.domains,
        agreement_with_teacher=agreement(predictions, teacher.argmax(axis=1)),
    )


def _method(record: StageRecord | None) -> dict[str, str | float | int | bool | None]:
    """Return the distillation objective that the training stage recorded, without what a manifest cannot hold."""
    method = {} if record is None else record.details.get("method", {})
    return {key: value for key, value in method.items() if value is None or isinstance(value, str | float | int)}

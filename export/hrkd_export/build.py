"""The steps of an export, in order, inside the folder that becomes the bundle."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from hrkd.artifact import StageRecord, folder_hash, hash_of
from hrkd.bundle import (
    MODEL,
    TOKENIZER,
    EvalExample,
    Manifest,
    ReferenceMetrics,
    describe_files,
    write_eval,
    write_manifest,
)
from hrkd.models import ClassifierConfig, MultiDomainClassifier, load_classifier, load_tokenizer
from hrkd.recipe import ExportConfig, QuantizationBackend, Recipe, Target
from hrkd_export.evaluation_texts import read_checkpoint_examples, sample_examples
from hrkd_export.facts import large_float_weights, read_facts
from hrkd_export.inputs import Role, inputs_hash, library_versions
from hrkd_export.parity import check_logits, check_tokenizer
from hrkd_export.quantize import quantize_int8, resolve_backend
from hrkd_export.reference import measure_reference
from hrkd_export.session import SESSION_SETTINGS
from hrkd_export.target import resolve_target
from hrkd_export.to_onnx import export_onnx

ANY_TARGET = "any"
"""The `target` of an fp32 bundle."""
LARGE_WEIGHT_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Quantization:
    """How the weights become int8, with nothing left open."""

    target: Target
    backend: QuantizationBackend


@dataclass(frozen=True, slots=True)
class Build:
    """One export.

    Attributes:
        checkpoint: Model folder.
        config: Precision, target and limits.
        role: What the bundle is called in comparisons.
        message: Receives one line per step.
    """

    checkpoint: Path
    config: ExportConfig
    role: Role
    message: Callable[[str], None]

    def write(self, folder: Path, *, record: StageRecord | None, recipe: Recipe | None) -> Manifest:
        """Fill ``folder`` with the bundle's files and return its manifest; what can be refused is refused first."""
        quantization = self._quantization()
        classifier = load_classifier(self.checkpoint, attention="eager")
        names = classifier.config
        tokenizer = load_tokenizer(self.checkpoint)
        examples = read_checkpoint_examples(self.checkpoint, names)
        kept = sample_examples(examples, self.config.eval_examples_per_domain)

        shipped = write_tokenizer(tokenizer, folder / TOKENIZER)
        check_tokenizer(tokenizer, shipped, kept, names.max_length, text_pairs=names.text_pairs)
        write_eval(folder, kept)
        self._write_graph(folder / MODEL, classifier, tokenizer, kept, quantization)
        self.message(f"measuring the accuracy on {len(kept)} texts")
        reference = measure_reference(folder, kept, names)
        manifest = self._manifest(folder, names, quantization, reference, record, recipe)
        write_manifest(folder, manifest)
        return manifest

    def _quantization(self) -> Quantization | None:
        if self.config.quantize is None:
            return None
        return Quantization(resolve_target(self.config.target), resolve_backend(self.config.backend))

    def _write_graph(
        self,
        path: Path,
        classifier: MultiDomainClassifier,
        tokenizer: PreTrainedTokenizerFast,
        examples: Sequence[EvalExample],
        quantization: Quantization | None,
    ) -> None:
        """Export and verify in float first, whatever the precision asked for: int8 differences cannot be judged."""
        with TemporaryDirectory(prefix="hrkd-export-") as name:
            exact = Path(name) / MODEL
            self.message(f"exporting to ONNX (opset {self.config.opset})")
            export_onnx(classifier, exact, self.config.opset)
            difference = check_logits(classifier, tokenizer, exact, examples)
            self.message(f"verified against the model: logits differ by at most {difference:.1e}")
            if quantization is None:
                shutil.copyfile(exact, path)
                return
            self.message(f"quantising to int8 for {quantization.target} with {quantization.backend}")
            quantize_int8(exact, path, quantization.target, quantization.backend)
        for weight, size in large_float_weights(path, LARGE_WEIGHT_BYTES).items():
            self.message(f"not quantised: `{weight}` keeps {size / 1e6:.1f} MB of floating-point weights")

    def _manifest(
        self,
        folder: Path,
        names: ClassifierConfig,
        quantization: Quantization | None,
        reference: ReferenceMetrics,
        record: StageRecord | None,
        recipe: Recipe | None,
    ) -> Manifest:
        precision: Literal["fp32", "int8"] = "fp32" if quantization is None else "int8"
        return Manifest(
            name=f"{self.role}-{precision}",
            role=self.role,
            precision=precision,
            target=ANY_TARGET if quantization is None else quantization.target.value,
            backend=None if quantization is None else quantization.backend.value,
            domain_names=names.domain_names,
            label_names=names.label_names,
            max_length=names.max_length,
            text_pairs=names.text_pairs,
            parents={
                "checkpoint": folder_hash(self.checkpoint),
                "inputs": inputs_hash(self.checkpoint, self.config, self.role),
            },
            recipe_hash=None if recipe is None else hash_of(recipe.model_dump(mode="json")),
            method=_method(record),
            versions=library_versions(),
            graph=read_facts(folder / MODEL),
            reference=reference,
            session=dict(SESSION_SETTINGS),
            files=describe_files(folder),
        )


def write_tokenizer(tokenizer: PreTrainedTokenizerFast, path: Path) -> Tokenizer:
    """Write what the training tokenizer runs as a `tokenizers` file, and return it as read back from there.

    The checkpoint's own tokenizer.json is not copied: `transformers` may change the tokenizer while loading it.
    Truncation and padding are cleared, because they are the runtime's to set.
    """
    copy = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    copy.no_truncation()
    copy.no_padding()
    copy.save(str(path))
    return Tokenizer.from_file(str(path))


def _method(record: StageRecord | None) -> dict[str, str | float | int | None]:
    """Return the distillation objective that the training stage recorded, without what a manifest cannot hold."""
    method = {} if record is None else record.details.get("method", {})
    return {key: value for key, value in method.items() if value is None or isinstance(value, str | float | int)}

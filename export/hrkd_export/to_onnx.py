"""torch -> ONNX: one graph for all domains, with free batch size and length.

The TorchScript exporter and eager attention are used on purpose: onnxruntime fuses the attention of no other graph.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from hrkd.errors import ExportError, first_line
from hrkd.models import MultiDomainClassifier
from hrkd_export.first_token import keep_first_token

INPUT_NAMES = ("input_ids", "attention_mask", "domain_id")
OUTPUT_NAME = "logits"
DYNAMIC_AXES = {
    "input_ids": {0: "batch", 1: "tokens"},
    "attention_mask": {0: "batch", 1: "tokens"},
    "domain_id": {0: "batch"},
    OUTPUT_NAME: {0: "batch"},
}
NEWEST_IR_VERSION = 8
"""onnxruntime 1.10 and later read it; nothing newer is needed below opset 21."""


class ExportWrapper(nn.Module):
    """A classifier that returns its logits alone: what is traced.

    Args:
        classifier: Put into evaluation mode together with the wrapper, because the exporter restores the *wrapper's*
            mode afterwards and a wrapper left in training mode would switch dropout on in the classifier.
    """

    def __init__(self, classifier: MultiDomainClassifier) -> None:
        super().__init__()
        self.classifier = classifier
        self.eval()

    def forward(self, input_ids: Tensor, attention_mask: Tensor, domain_id: Tensor) -> Tensor:
        """Return logits (B, C) for (B, T), (B, T) and (B,)."""
        logits: Tensor = self.classifier(input_ids, attention_mask, domain_id).logits
        return logits


def export_onnx(classifier: MultiDomainClassifier, path: Path, opset: int) -> None:
    """Write ``classifier`` as an fp32 graph, in a form that depends on nothing but the classifier.

    Args:
        classifier: Loaded with eager attention.
        path: File to write.
        opset: ONNX operator set.

    Raises:
        ExportError: The encoder's architecture cannot be traced, or the graph is not valid ONNX.
    """
    _trace(ExportWrapper(classifier), path, opset)
    model = onnx.load(path)
    normalize(model)
    keep_first_token(model)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the exported graph is not valid ONNX: {first_line(error)}") from error
    onnx.save(model, path)


def normalize(model: onnx.ModelProto) -> None:
    """Remove from a graph, in place, what varies between machines and runs but means nothing to a runtime."""
    model.ir_version = min(model.ir_version, NEWEST_IR_VERSION)
    model.doc_string = ""
    del model.metadata_props[:]
    del model.graph.value_info[:]
    model.graph.doc_string = ""
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]


def _trace(wrapper: ExportWrapper, path: Path, opset: int) -> None:
    encoder = wrapper.classifier.encoder
    with warnings.catch_warnings():
        # The exporter that is wanted here announces its own deprecation, and the tracer comments on constants and
        # indexing inside the encoder. What they warn of, a graph that fits only the example, is what parity checks.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        warnings.filterwarnings("ignore", "Exporting aten::index operator", UserWarning)
        warnings.filterwarnings("ignore", "To copy construct from a tensor", UserWarning)  # in DeBERTa, transformers 5
        try:
            torch.onnx.export(
                wrapper,
                _example(int(encoder.config.vocab_size)),
                path,
                dynamo=False,
                opset_version=opset,
                input_names=list(INPUT_NAMES),
                output_names=[OUTPUT_NAME],
                dynamic_axes=DYNAMIC_AXES,
            )
        except (RuntimeError, TypeError, ValueError, AttributeError) as error:
            raise ExportError(
                f"the encoder `{type(encoder).__name__}` cannot be exported to ONNX: {first_line(error)}",
                hint="use a BERT, RoBERTa, ELECTRA or DistilBERT encoder",
            ) from error


def _example(vocab_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return inputs of two rows and six tokens that take every branch: padding, a known and an unknown domain."""
    input_ids = (torch.arange(12) % vocab_size).reshape(2, 6)
    attention_mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]])
    return input_ids, attention_mask, torch.tensor([0, -1])

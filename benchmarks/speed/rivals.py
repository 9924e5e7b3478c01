"""The same student, run as people run it: each of these loads a folder and turns a text into a label.

What a rival needs (its own export, its own quantised file) is made before anything is measured, by the library's
defaults. All of them answer for one domain: other tools know no more than one head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Answer = Callable[[str], str]
CHECKPOINT = "checkpoint"
OPTIMUM = "optimum"
FP32 = "fp32"
OPENVINO = "openvino"
CALIBRATION_TEXTS = 256


def write_checkpoint(student: Path, domain: str, max_length: int, folder: Path) -> None:
    """Write one domain of a student as the Hugging Face classifier that every other tool expects."""
    import torch
    from transformers import BertForSequenceClassification

    from hrkd.models import load_classifier, load_tokenizer

    source = load_classifier(student)
    config = source.encoder_config
    names = dict(enumerate(source.config.label_names))
    config.update({"num_labels": len(names), "id2label": names, "label2id": {name: i for i, name in names.items()}})
    model = BertForSequenceClassification(config)
    model.bert.load_state_dict(source.encoder.state_dict(), strict=False)
    number = source.config.domain_names.index(domain)
    with torch.no_grad():
        model.bert.pooler.dense.load_state_dict(source.pooler.state_dict())
        model.classifier.weight.copy_(source.head_weight[number])
        model.classifier.bias.copy_(source.head_bias[number])
    model.eval().save_pretrained(folder)
    tokenizer = load_tokenizer(student)
    tokenizer.model_max_length = max_length
    tokenizer.save_pretrained(folder)


def prepare_optimum(checkpoint: Path, folder: Path, preset: str) -> None:
    """Export and quantise with Optimum's defaults and the preset for this processor."""
    from optimum.onnxruntime import AutoQuantizationConfig, ORTModelForSequenceClassification, ORTQuantizer
    from transformers import AutoTokenizer

    model = ORTModelForSequenceClassification.from_pretrained(checkpoint, export=True)
    config = getattr(AutoQuantizationConfig, preset)(is_static=False, per_channel=False)
    ORTQuantizer.from_pretrained(model).quantize(config, save_dir=folder)
    AutoTokenizer.from_pretrained(checkpoint).save_pretrained(folder)


def prepare_openvino(checkpoint: Path, folder: Path, texts: Sequence[str]) -> None:
    """Convert with OpenVINO and quantise statically with NNCF's defaults for transformers."""
    import nncf
    import openvino
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    encoded = [dict(tokenizer(text, truncation=True, return_tensors="pt")) for text in texts[:CALIBRATION_TEXTS]]
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint)
    graph = openvino.convert_model(model, example_input=encoded[0])
    quantized = nncf.quantize(graph, nncf.Dataset(encoded), model_type=nncf.ModelType.TRANSFORMER)
    openvino.save_model(quantized, folder / "model.xml")
    tokenizer.save_pretrained(folder)


def hrkd(folder: Path, domain: str) -> Answer:
    """A bundle through hrkd's runtime."""
    from hrkd_bench.runtime import Classifier

    classifier = Classifier.load(folder, threads=1)
    return lambda text: classifier([text], domain=domain)[0].label


def transformers(folder: Path, _domain: str) -> Answer:
    """The checkpoint through the pipeline of transformers, in PyTorch."""
    import torch
    from transformers import pipeline

    torch.set_num_threads(1)
    return _label_of(pipeline("text-classification", model=str(folder), device="cpu"))


def optimum(folder: Path, _domain: str) -> Answer:
    """Optimum's quantised model through its own pipeline."""
    import onnxruntime
    from optimum.onnxruntime import ORTModelForSequenceClassification
    from transformers import AutoTokenizer, pipeline

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    model = ORTModelForSequenceClassification.from_pretrained(
        folder, file_name="model_quantized.onnx", session_options=options
    )
    return _label_of(pipeline("text-classification", model=model, tokenizer=AutoTokenizer.from_pretrained(folder)))


def openvino(folder: Path, _domain: str) -> Answer:
    """OpenVINO's static int8 model, called directly, with the fast tokenizer."""
    import json

    import openvino as engine
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    limit = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))["model_max_length"]
    tokenizer.enable_truncation(limit)
    labels = ("0", "1", "2", "3")
    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": "1", "PERFORMANCE_HINT": "LATENCY"}
    request = engine.Core().compile_model(str(folder / "model.xml"), "CPU", settings).create_infer_request()
    inputs = {port.any_name for port in request.model_inputs}

    def answer(text: str) -> str:
        ids = np.array([tokenizer.encode(text).ids], dtype=np.int64)
        feeds: dict[str, Any] = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        if "token_type_ids" in inputs:
            feeds["token_type_ids"] = np.zeros_like(ids)
        return labels[int(request.infer(feeds)[0].argmax())]

    return answer


RIVALS: dict[str, Callable[[Path, str], Answer]] = {
    "hrkd": hrkd,
    "transformers": transformers,
    "optimum": optimum,
    "openvino": openvino,
}


def _label_of(classify: Any) -> Answer:
    return lambda text: str(classify(text)[0]["label"])

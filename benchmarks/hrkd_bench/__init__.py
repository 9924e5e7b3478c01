"""The edge runtime and the measurement: numpy, onnxruntime, tokenizers and psutil, never torch.

``runtime.Classifier`` runs a bundle, ``bench.bench`` measures bundles and model folders against each other,
``table`` and ``report`` show the result. Importing any module of this package loads none of the four libraries
that train and export (torch, transformers, optimum, onnx); a model folder is measured in a child process that does.
"""

from __future__ import annotations

from hrkd.engines import forbid_telemetry

forbid_telemetry()  # before a module of this package, or a worker, imports an engine

"""The edge runtime and the measurement: numpy, onnxruntime, tokenizers and psutil, never torch.

``runtime.Classifier`` runs a bundle, ``bench.bench`` measures bundles and model folders against each other. From below:
``machine`` reads what this computer is and does, ``limits`` confine a process, ``measurement`` leaves samples behind,
``document`` is the shape of what is kept, ``claims`` says what follows, ``gate`` judges it, ``report`` shows it.
``plan`` and ``tuning`` choose with it; ``device`` and ``web`` measure elsewhere.

Importing any module of this package loads none of the four libraries that train and export (torch, transformers,
optimum, onnx); a model folder is measured in a child process that does.
"""

from __future__ import annotations

from hrkd.engines import forbid_telemetry

forbid_telemetry()  # before a module of this package, or a worker, imports an engine

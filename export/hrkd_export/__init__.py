"""From a trained model folder to a verified, quantised bundle: torch -> ONNX -> int8 -> parity -> bundle.

Importing this package loads neither torch nor onnx; :func:`export_bundle` imports them when it is called.
"""

from __future__ import annotations

import os

# onnxruntime reads this once, at its import, and sends usage data unless it is set.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from hrkd_export.export import export_bundle
from hrkd_export.inputs import inputs_hash

__all__ = ["export_bundle", "inputs_hash"]

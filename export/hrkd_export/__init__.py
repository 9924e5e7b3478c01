"""From a trained model folder to a verified, quantised bundle: torch -> ONNX -> int8 -> parity -> bundle.

Importing this package loads neither torch nor onnx; :func:`export_bundle` imports them when it is called.
"""

from __future__ import annotations

from hrkd.engines import forbid_telemetry
from hrkd_export.export import export_bundle
from hrkd_export.inputs import inputs_hash

__all__ = ["export_bundle", "inputs_hash"]

forbid_telemetry()  # before a module of this package imports an engine

"""No usage data leaves the machine: what the engines need to be told before they are imported."""

from __future__ import annotations

import os
import sys


def forbid_telemetry() -> None:
    """Switch off the reports of onnxruntime, OpenVINO and NNCF; call before any of them is imported.

    onnxruntime reads a variable at its import. The other two report through a package of their own and take a missing
    answer for consent; no variable stops them, but without that package they go on with a stub.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # makes its import fail

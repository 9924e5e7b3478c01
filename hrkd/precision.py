"""Number formats: half precision goes through the models, never through the objective."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(tensor: Tensor) -> Tensor:
    """Return the tensor in float32, or unchanged where it is wider."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))

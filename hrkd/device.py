"""Where training runs and in which number format."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from hrkd.recipe import Precision


@dataclass(frozen=True, slots=True)
class Device:
    """A torch device and the number format of its arithmetic; parameters stay float32."""

    device: torch.device
    dtype: torch.dtype

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context in which models run forward."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype is torch.bfloat16)

    def describe(self) -> str:
        """Return the device's name and the number format, for logs and records."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"
        return f"{name}, {str(self.dtype).removeprefix('torch.')}"


def present_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Return the context of the number format that holds now, to come back to it from inside of another one."""
    kind = device.type
    return torch.autocast(kind, dtype=torch.get_autocast_dtype(kind), enabled=torch.is_autocast_enabled(kind))


def trained_attention(device: torch.device) -> AbstractContextManager[object]:
    """Return the context for forward passes whose backward follows.

    On the CPU the fused attention kernel, which torch takes without dropout, saves less forward than its backward costs
    (docs/log.md).
    """
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()


def choose_device(precision: Precision) -> Device:
    """Take the GPU when there is one, and bfloat16 where the device computes in it natively."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    native = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else _cpu_has_bf16()
    use_bf16 = precision is Precision.BF16 or (precision is Precision.AUTO and native)
    return Device(device, torch.bfloat16 if use_bf16 else torch.float32)


def _cpu_has_bf16() -> bool:
    capabilities: dict[str, object] = getattr(
        torch.cpu, "get_capabilities", dict
    )()  # older torch cannot say; float32 is safe there
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))


def gpu_memory() -> tuple[int, int] | None:
    """Return the most bytes that this process has held of its GPU so far, and all that there are; None without one."""
    if not torch.cuda.is_available():
        return None
    total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    return int(torch.cuda.max_memory_reserved()), int(total)

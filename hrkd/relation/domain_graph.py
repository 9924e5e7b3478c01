"""The interface of the domain graphs, and the control without one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hrkd.precision import at_least_float32


@dataclass(frozen=True, slots=True)
class GraphOutput:
    """What a graph says about one step.

    Attributes:
        domain_ratios: ``R[l, k]``, (L+1, K); sums to 1 over domains, so every variant has one loss scale.
        hierarchical_ratios: Per level l >= 1 the compare-aggregate weights (K, l+1); empty without a hierarchy.
    """

    domain_ratios: Tensor
    hierarchical_ratios: tuple[Tensor, ...] = ()


class DomainGraph(nn.Module, ABC):
    """Interface of the variants: prototypes (L+1, K, H) in, :class:`GraphOutput` out.

    Attributes:
        reads_prototypes: Whether ratios depend on them; if not, prototypes of width 0 will do.
    """

    reads_prototypes = True

    def forward(self, prototypes: Tensor) -> GraphOutput:
        """Return the ratios for one step's prototypes, never computed in half precision."""
        with torch.autocast(prototypes.device.type, enabled=False):
            return self.compute(at_least_float32(prototypes))

    @abstractmethod
    def compute(self, prototypes: Tensor) -> GraphOutput:
        """Return the ratios for prototypes of at least float32."""


class UniformGraph(DomainGraph):
    """``R = 1/K``: no graph, at the loss scale of one."""

    reads_prototypes = False

    def compute(self, prototypes: Tensor) -> GraphOutput:
        """Return equal ratios."""
        return GraphOutput(prototypes.new_full(prototypes.shape[:2], 1.0 / prototypes.shape[1]))

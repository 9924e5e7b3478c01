"""HRKD: distil a multi-domain text classifier, export it, quantise it, and measure it.

Importing this package loads nothing heavy: torch is imported only by ``hrkd.models``,
``hrkd.relation``, ``hrkd.losses``, ``hrkd.training`` and ``hrkd.evaluation``.
"""

from __future__ import annotations

__version__ = "0.1.0"

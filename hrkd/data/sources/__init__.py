"""One module for each place that texts come from; :func:`hrkd.data.load.load_dataset` chooses."""

from __future__ import annotations

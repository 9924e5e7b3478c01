"""The names of a model folder's files, for everything that looks at one; `hrkd.models` reads and writes it."""

from __future__ import annotations

from pathlib import Path

CLASSIFIER = "classifier.json"
WEIGHTS = "model.safetensors"
GRAPH = "graph.json"
"""What the domain-relational graph said over a student's training; absent where there was no graph."""
GRAPH_SCHEMA_VERSION = 1
MEMBERS = "members"
"""Sub-folder with one model folder per domain, for a teacher that is one classifier per domain."""


def is_per_domain(folder: Path) -> bool:
    """Whether a model folder holds one classifier per domain instead of one for all."""
    return (folder / MEMBERS).is_dir()

"""Builder of a recipe that runs the whole loop in seconds."""

from __future__ import annotations

from pathlib import Path

import yaml


def write_recipe(path: Path, data: Path, encoder: Path) -> Path:
    """Write a recipe that runs in seconds."""
    value = {
        "name": "tiny",
        "data": {"source": "files", "path": str(data), "max_length": 32},
        "teacher": {"base": str(encoder), "training": {"epochs": 1.0, "precision": "fp32"}},
        "student": {"layers": 2, "teacher_layers": [2, 4]},
        "training": {"epochs": 1.0, "precision": "fp32"},
        "export": {"target": "avx2"},
        "bench": {
            **{"rounds": 1, "warmup_texts": 2, "cold_starts": 1, "max_texts": 12},
            **{"min_samples": 1, "min_seconds": 0, "lengths": []},
        },
    }
    path.write_text(yaml.safe_dump(value), encoding="utf-8")
    return path

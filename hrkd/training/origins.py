"""What identifies the pretrained models that a stage starts from, for its input hash: content, and not the place."""

from __future__ import annotations

from pathlib import Path

from hrkd.artifact import sha256_file
from hrkd.models.encoder import resolve_base
from hrkd.recipe import Recipe

_DECISIVE = (
    "config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
    "*.py",
)
"""Files of a pretrained model that decide what it answers: shape, weights in one file or several, word pieces, code."""


def fingerprint(source: str) -> str | dict[str, str]:
    """Identify a pretrained model: by the SHA-256 of its files where it is local, by name on the Hub.

    Args:
        source: Of `teacher.base`, `teacher.adopt` or `student.checkpoint`.

    Raises:
        CheckpointError: It is named as a folder or package and is not there.
    """
    folder = Path(resolve_base(source))
    if not folder.is_dir():
        return source
    files = {file for pattern in _DECISIVE for file in folder.glob(pattern) if file.is_file()}
    return {file.name: sha256_file(file) for file in sorted(files)}


def student_origins(recipe: Recipe) -> dict[str, str | dict[str, str]]:
    """Identify the models that decide a student besides its teacher; none in most recipes.

    They are the checkpoint that it starts from, and what its task-agnostic stage imitates where that is no teacher.

    Raises:
        CheckpointError: One of them is not there.
    """
    base = recipe.teacher.base if recipe.student.general else None
    named = {"checkpoint": recipe.student.checkpoint, "base": base}
    return {key: fingerprint(source) for key, source in named.items() if source is not None}

"""Student shapes by name.

Numbers beside a preset in the recipe win over the preset's. Shapes named after a model are as published; the others
have heads 32 wide as in MiniLM, because a head that is no wider than the teacher's can be pruned from it.
"""

from __future__ import annotations

from typing import NamedTuple


class StudentShape(NamedTuple):
    """The numbers that decide a student's size and speed."""

    layers: int
    hidden_size: int
    attention_heads: int
    intermediate_size: int


STUDENT_PRESETS = {
    "tinybert-4x312": StudentShape(4, 312, 12, 1200),
    "tinybert-6x768": StudentShape(6, 768, 12, 3072),
    "minilm-6x384": StudentShape(6, 384, 12, 1536),
    "minilm-12x384": StudentShape(12, 384, 12, 1536),
    "2x128": StudentShape(2, 128, 4, 512),
    "2x256": StudentShape(2, 256, 8, 1024),
    "3x256": StudentShape(3, 256, 8, 1024),
    "4x256": StudentShape(4, 256, 8, 1024),
    "2x384": StudentShape(2, 384, 12, 1536),
    "3x384": StudentShape(3, 384, 12, 1536),
    "4x384": StudentShape(4, 384, 12, 1536),
    "6x384": StudentShape(6, 384, 12, 1536),
}

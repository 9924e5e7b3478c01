"""A student's shape as `hrkd plan` knows it: what it computes for a text, and how many bytes its weights take.

Neither depends on what was learned, so both are known before anything is trained. No torch is needed here.
"""

from __future__ import annotations

from dataclasses import dataclass

FP32 = "fp32"
"""Name of the precision that quantises nothing."""
_BYTES = {  # of one entry of a table and of a matrix; blocks of 64 and 32 entries share a float32 scale
    FP32: (4.0, 4.0),
    "fp16": (2.0, 2.0),
    "int8": (1.0, 1.0),
    "int8-fused": (1.0, 1.0),
    "int8-int4-tables": (0.5 + 4 / 64, 1.0),
    "int8-static-qdq": (1.0, 1.0),
    "int8-static-qoperator": (1.0, 1.0),
    "int8-weights": (1.0, 1.0 + 4 / 32),
    "int4-weights": (0.5 + 4 / 64, 0.5 + 4 / 32),
    "int8-openvino": (1.0, 1.0),
}
PRECISIONS = tuple(_BYTES)
"""What can be planned: every way of quantising but the choice among them."""
_SAME_ARITHMETIC = {"int8-int4-tables": "int8"}  # looking up a row of a table costs next to nothing
_CHANNEL_BYTES = 5  # a channel of a quantised matrix has a float32 scale and an 8-bit zero point


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides a student's latency and size.

    Attributes:
        layers: Encoder layers.
        hidden_size: Width.
        attention_heads: Heads of a layer.
        intermediate_size: Width of the feed-forward part.
        vocabulary: Most pieces to keep; None: as the recipe says.
        precision: One of :data:`PRECISIONS`.
    """

    layers: int
    hidden_size: int
    attention_heads: int
    intermediate_size: int
    vocabulary: int | None = None
    precision: str = FP32

    @property
    def name(self) -> str:
        """Short and unique, such as ``3x384-int8``; unusual heads and feed-forward widths are said as well."""
        usual = (self.hidden_size == 32 * self.attention_heads, self.intermediate_size == 4 * self.hidden_size)
        parts = [f"{self.layers}x{self.hidden_size}"]
        parts += [] if usual[0] else [f"h{self.attention_heads}"]
        parts += [] if usual[1] else [f"f{self.intermediate_size}"]
        parts += [] if self.vocabulary is None else [f"v{self.vocabulary}"]
        return "-".join([*parts, self.precision])

    @property
    def encoder(self) -> tuple[int, int, int, int]:
        """The numbers that decide what is computed."""
        return (self.layers, self.hidden_size, self.attention_heads, self.intermediate_size)

    @property
    def arithmetic(self) -> str:
        """Precisions of one arithmetic have one latency for one encoder."""
        return _SAME_ARITHMETIC.get(self.precision, self.precision)

    @property
    def encoder_weights(self) -> int:
        """Entries of the layers' matrices: what is meant by a large student."""
        return self.layers * (4 * self.hidden_size**2 + 2 * self.hidden_size * self.intermediate_size)

    def operations(self, tokens: float) -> float:
        """Return the floating-point or integer operations for one text, 2 per multiplication and addition.

        The exported last layer needs queries, output and feed-forward part for the first token only.

        Args:
            tokens: Length of the text, special tokens included.
        """
        hidden, inner = self.hidden_size, self.intermediate_size
        per_token = 8 * hidden**2 + 4 * hidden * inner
        attention = 4 * tokens * hidden
        full = (self.layers - 1) * tokens * (per_token + attention)
        last = tokens * 4 * hidden**2 + 4 * hidden**2 + 4 * hidden * inner + attention
        return full + last + 2 * hidden**2


@dataclass(frozen=True, slots=True)
class Parameters:
    """Numbers of weights of a student by what quantising does to them.

    Attributes:
        tables: Entries of embeddings.
        matrices: Entries of weight matrices.
        vectors: Everything else, which stays in float32.
        channels: Output channels of all matrices.
    """

    tables: int
    matrices: int
    vectors: int
    channels: int

    def weight_bytes(self, precision: str) -> float:
        """Return the bytes of all weights in a precision; the graph around them is not counted."""
        table, matrix = _BYTES[precision]
        scales = 0 if precision in (FP32, "fp16") else _CHANNEL_BYTES * self.channels
        vector = 2 if precision == "fp16" else 4
        return table * self.tables + matrix * self.matrices + vector * self.vectors + scales

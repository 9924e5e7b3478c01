"""The headers that a web server sends so that a page may have threads."""

from __future__ import annotations

ISOLATION = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Headers without which a browser gives a page neither threads nor a fine clock."""

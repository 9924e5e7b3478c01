"""One module per command: what it parses, and the one call it makes."""

from __future__ import annotations

"""The `hrkd` command: parses, calls the libraries, prints. The only package that knows typer."""

from __future__ import annotations

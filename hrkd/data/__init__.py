"""Texts with a label and a domain: loading, checking, batching. Import the modules; this package imports nothing."""

from __future__ import annotations

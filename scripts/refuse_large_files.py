"""Refuse files above 500 kB, named as arguments: models and data sets are fetched, never committed."""

from __future__ import annotations

import sys
from pathlib import Path

LIMIT_BYTES = 500_000
ALLOWED = {Path("requirements/dev.txt")}


def main() -> int:
    """Return 1 when a file is too large."""
    sizes = {path: path.stat().st_size for path in map(Path, sys.argv[1:]) if path.is_file()}
    too_large = {path: size for path, size in sizes.items() if size > LIMIT_BYTES and path not in ALLOWED}
    for path, size in too_large.items():
        print(f"{path}: {size / 1e3:.0f} kB, the limit is {LIMIT_BYTES / 1e3:.0f} kB")
    return 1 if too_large else 0


if __name__ == "__main__":
    sys.exit(main())

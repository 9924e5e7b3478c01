"""Sent to a device first: what it is, what it has, and whether an earlier run left something behind."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import struct
import sys
from pathlib import Path

LIBRARIES = ("numpy", "onnxruntime", "tokenizers")
PREFIX = "run-"
LOCK = ".lock"


def remove_stale(folder: Path) -> list[str]:
    """Remove the folders of runs that are over, and locks without one: a run holds a lock as long as it lives."""
    import fcntl

    removed = []
    found = {path.name[: -len(LOCK)] if path.name.endswith(LOCK) else path.name for path in folder.glob(PREFIX + "*")}
    for stale in sorted(folder / name for name in found):
        with open(str(stale) + LOCK, "a", encoding="ascii") as lock:  # noqa: PTH123 - reads like the rest
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            if stale.is_dir():
                shutil.rmtree(str(stale), ignore_errors=True)
                removed.append(str(stale))
            try:
                Path(str(stale) + LOCK).unlink()
            except FileNotFoundError:  # another probe was faster
                continue
    return removed


def free_bytes(folder: Path) -> int:
    """Return the free disk of the file system on which the folder stands, or will stand."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(str(folder)).free


def versions() -> dict[str, str | None]:
    """Return the version of each library, None where it is missing; imports nothing."""
    from importlib import metadata

    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name) if importlib.util.find_spec(name) else None
        except metadata.PackageNotFoundError:  # there, but nothing says which one
            found[name] = "unknown"
    return found


def main() -> None:
    """Print the facts as one event."""
    folder = Path(sys.argv[1]).expanduser()
    facts = {
        "event": "facts",
        "python": list(sys.version_info[:3]),
        "executable": sys.executable,
        "system": platform.system(),
        "machine": platform.machine(),
        "bits": 8 * struct.calcsize("P"),
        "folder": str(folder),
        "free_bytes": free_bytes(folder),
        "versions": versions() if sys.version_info >= (3, 8) else {},
        "removed": remove_stale(folder) if os.name == "posix" else [],
    }
    sys.stdout.write("\nhrkd> " + json.dumps(facts) + "\n")


if __name__ == "__main__":
    main()

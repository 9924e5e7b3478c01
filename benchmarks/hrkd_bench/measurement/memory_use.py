"""How much memory a process holds, as the kernel counts it; run as a program, that of an interpreter with numpy alone.

RSS counts every page in memory, PSS shares a page among the processes that map it, USS counts the pages of this process
alone: what the system gets back when it ends. PSS therefore depends on what else runs, the other two do not, except
that pages of libraries become shared when a second process loads them.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

SMAPS = Path("/proc/self/smaps_rollup")
STATM = Path("/proc/self/statm")


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Bytes now; None where the system does not say.

    Attributes:
        rss_bytes: All pages in memory.
        pss_bytes: Likewise, with shared pages divided among those that share them.
        uss_bytes: Pages that no other process maps.
        file_bytes: Pages of files, such as programs and libraries: the kernel can drop them and read them again.
    """

    rss_bytes: int | None
    pss_bytes: int | None
    uss_bytes: int | None
    file_bytes: int | None


def read_memory_use(smaps: Path = SMAPS, statm: Path = STATM) -> MemoryUse:
    """Read this process's memory. Older kernels and other systems know the resident pages at most."""
    sizes = parse_smaps(_read(smaps))
    if "Rss" in sizes:
        private = [size for name, size in sizes.items() if name.startswith("Private_")]
        own = sizes.get("Anonymous")
        return MemoryUse(
            rss_bytes=sizes["Rss"],
            pss_bytes=sizes.get("Pss"),
            uss_bytes=sum(private) if private else None,
            file_bytes=None if own is None else sizes["Rss"] - own,
        )
    pages = _read(statm).split()[1:2]
    rss = int(pages[0]) * os.sysconf("SC_PAGE_SIZE") if pages and pages[0].isdigit() else None
    return MemoryUse(rss, None, None, None)


def parse_smaps(text: str) -> dict[str, int]:
    """Return the sizes of ``smaps_rollup`` in bytes, by name."""
    rows = (line.split() for line in text.splitlines())
    return {
        row[0].removesuffix(":"): int(row[1]) * 1024
        for row in rows
        if len(row) == 3 and row[2] == "kB" and row[1].isdigit()
    }


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def main() -> None:
    """Import numpy and nothing else that is large, and write this process's memory as JSON."""
    import numpy as np

    np.zeros(1)
    sys.stdout.write(json.dumps(asdict(read_memory_use())) + "\n")


if __name__ == "__main__":
    main()

"""The files that running a model needs, and how the kernel is asked to forget them.

A memory limit charges a page of a file to whoever read it first. What an earlier process has brought into memory costs
the next one nothing, which would then pass a limit that a freshly booted device does not.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from hrkd_bench.engines import require_engine
from hrkd_bench.subjects import Subject


def files_to_run(subject: Subject) -> Iterator[Path]:
    """Yield the files that running a subject needs: the model's and the engine's libraries."""
    yield from subject.path.rglob("*")
    for library in require_engine(subject.engine).libraries:
        spec = importlib.util.find_spec(library)
        for folder in (spec and spec.submodule_search_locations) or ():
            yield from Path(folder).rglob("*.so*")


def drop_from_page_cache(files: Iterable[Path]) -> None:
    """Ask the kernel to forget what it has read of some files; it keeps what another process is using."""
    if not hasattr(os, "posix_fadvise"):
        return
    for file in files:
        if file.is_file():
            with suppress(OSError), file.open("rb") as stream:
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

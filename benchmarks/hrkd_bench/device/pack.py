"""One file with everything a device needs: our code, the bundles, and the plan. The same inputs give the same bytes.

::

    python3 runner.pyz --output result.json
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hrkd import __version__
from hrkd.artifact import sha256_file
from hrkd.bundle import MANIFEST, open_bundle
from hrkd.errors import BenchError
from hrkd.output_file import new_file
from hrkd.shape import to_json
from hrkd_bench.device.closure import device_files
from hrkd_bench.device.plan import BUNDLES, PLAN, Plan
from hrkd_bench.subjects import Subject

if TYPE_CHECKING:
    from hrkd.recipe import BenchConfig

SHEBANG = b"#!/usr/bin/env python3\n"
_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say
_START = Path(__file__).with_name("start.py")


def pack(
    target: Path,
    subjects: Sequence[Subject],
    baselines: Sequence[Subject],
    config: BenchConfig,
    *,
    memory_limit: bool = False,
    overwrite: bool = False,
) -> Plan:
    """Write the file.

    Args:
        target: Such as ``runner.pyz``.
        subjects: Bundles as :func:`hrkd_bench.bench.recognise` returned them.
        baselines: Likewise.
        config: How to measure.
        memory_limit: Whether to search for the smallest memory limit of each bundle, too.
        overwrite: Whether an existing file is replaced.

    Returns:
        The plan that was packed.

    Raises:
        BenchError: Something is no bundle that onnxruntime runs.
        ArtifactError: ``target`` exists, or a bundle is damaged.
    """
    measured = [*baselines, *subjects]
    for subject in measured:
        if subject.engine != "onnxruntime":
            raise BenchError(
                f"`{subject.path}` runs with {subject.engine}, a device runs bundles with onnxruntime",
                hint="give bundles; `hrkd export` makes one of a model folder",
            )
    files = device_files() | _bundle_files(measured)
    plan = Plan(
        hrkd=__version__,
        settings=config.model_dump(mode="json"),
        names=tuple(subject.name for subject in measured),
        num_baselines=len(baselines),
        memory_limit=memory_limit,
        files={inside: sha256_file(path) for inside, path in files.items()},
    )
    with new_file(target, replace=overwrite) as stream:
        stream.write(SHEBANG)
        with zipfile.ZipFile(stream, "w") as archive:
            _write(archive, "__main__.py", _START.read_bytes())
            _write(archive, PLAN, plan_bytes(plan))
            for inside, path in files.items():
                _write(archive, inside, path.read_bytes())
    return plan


def plan_bytes(plan: Plan) -> bytes:
    """Return a plan as it is packed."""
    return json.dumps(to_json(plan), indent=1, sort_keys=True).encode()


def _bundle_files(subjects: Sequence[Subject]) -> dict[str, Path]:
    """Return the bundles' files; a bundle is verified as a whole, so the card travels as well."""
    return {
        f"{BUNDLES}/{number}/{name}": subject.path / name
        for number, subject in enumerate(subjects)
        for name in [MANIFEST, *sorted(open_bundle(subject.path).files)]
    }


def _write(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Add an entry uncompressed: compressors differ between machines."""
    entry = zipfile.ZipInfo(name, _DATE)
    entry.create_system, entry.external_attr = 3, 0o644 << 16
    archive.writestr(entry, content)

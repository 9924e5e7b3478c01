"""Measure under the limits of a profile: the same measurement, every process confined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hrkd_bench.bench import bench
from hrkd_bench.limits.confinement import Limits
from hrkd_bench.limits.profiles import Granted, Profile, grant
from hrkd_bench.measurement.measure import Progress

if TYPE_CHECKING:
    from hrkd.recipe import BenchConfig

_METHODS: dict[int, Literal["cgroup-v1", "cgroup-v2"]] = {1: "cgroup-v1", 2: "cgroup-v2"}


def profiled(
    profile: Profile,
    subjects: Sequence[Path],
    *,
    baselines: Sequence[Path] = (),
    config: BenchConfig,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure bundles and model folders, each process under the profile's limits.

    Args:
        profile: Which limits; see :func:`hrkd_bench.limits.profiles.find_profile`.
        subjects: See :func:`hrkd_bench.bench.bench`.
        baselines: Likewise; they run under the same limits.
        config: Likewise; ``threads`` is lowered to what the limits grant.
        progress: Likewise.

    Returns:
        The document, with ``profile`` saying what was really imposed.

    Raises:
        BenchError: This machine cannot impose the profile, said before any work; or the measurement failed.
        ArtifactError: A bundle is damaged.
    """
    granted = grant(profile)
    threads = min(config.threads, granted.threads)
    document = bench(
        subjects,
        baselines=baselines,
        config=config.model_copy(update={"threads": threads}),
        progress=progress,
        quota_is_tested=profile.quota is not None,
        limits=granted.limits,
    )
    return document | {"profile": describe(granted, threads)}


def limits_but_memory(document: Mapping[str, Any]) -> Limits:
    """Return the CPUs and the quota of a document's profile, under which its smallest memory limit is looked for."""
    profile = document.get("profile")
    if profile is None:
        return Limits()
    return Limits(cpus=None if profile["cpus"] is None else tuple(profile["cpus"]), quota=profile["quota"])


def describe(granted: Granted, threads: int) -> dict[str, Any]:
    """Return what was imposed, as the document's ``ProfileReport`` takes it."""
    limits = granted.limits
    return {
        "name": granted.profile.name,
        "label": granted.profile.label,
        "cpus": None if limits.cpus is None else list(limits.cpus),
        "quota": limits.quota,
        "memory_bytes": limits.memory_bytes,
        "method": None if granted.version is None else _METHODS[granted.version],
        "threads": threads,
    }

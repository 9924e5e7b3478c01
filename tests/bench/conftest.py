"""One real measurement of two tiny bundles, shared by all tests that look at its document."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from hrkd.recipe import BenchConfig
from hrkd_bench.bench import bench
from tiny_bundle import make_bundle

DOMAINS = ("books", "films", "phones")


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A big faultless teacher and a small student that makes mistakes."""
    root = tmp_path_factory.mktemp("bundles")
    folders = {name: root / name for name in ("teacher", "student")}
    options: dict[str, Any] = {"domain_names": DOMAINS, "per_domain": 50}
    make_bundle(folders["teacher"], name="big", role="teacher", padding_bytes=400_000, **options)
    make_bundle(folders["student"], name="small", precision="int8", noise=0.4, **options)
    return folders


@pytest.fixture(scope="session")
def measured(bundles: dict[str, Path]) -> dict[str, Any]:
    """The document of one measurement; do not change it."""
    config = BenchConfig(
        rounds=2, warmup_texts=10, cold_starts=3, min_seconds=0, lengths=(6, 10, 64), rate=400, rate_seconds=0.5
    )
    return bench([bundles["student"]], baselines=[bundles["teacher"]], config=config)


@pytest.fixture
def document(measured: dict[str, Any]) -> dict[str, Any]:
    """A copy of the measured document that a test may change."""
    return copy.deepcopy(measured)

"""How many cases there are, and what is said about them at the end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from fuzz.budget_of_cases import TOTAL
from fuzz.guard import Arena, outcomes
from hrkd.recipe import BenchConfig
from hrkd_bench.bench import bench
from tiny_bundle import make_bundle

_arenas: list[Arena] = []


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """Where cases run; no data set is in the cache meanwhile.

    What these libraries write when they are first imported (fonts, settings in the home folder) is not judged.
    """
    for library in ("matplotlib.pyplot", "onnxruntime", "pyarrow.parquet"):
        import_module(library)
    made = Arena(Path(tmp_path_factory.mktemp("arena")))
    _arenas.append(made)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HRKD_CACHE", str(tmp_path_factory.mktemp("empty-cache")))
        yield made


@pytest.fixture(scope="session")
def measurement(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A real document."""
    root = tmp_path_factory.mktemp("measured")
    make_bundle(root / "teacher", name="big", role="teacher", per_domain=6)
    make_bundle(root / "student", name="small", noise=0.4, per_domain=6)
    config = BenchConfig(rounds=2, warmup_texts=1, cold_starts=1, max_texts=4, min_seconds=0, min_samples=1, lengths=())
    return json.loads(json.dumps(bench([root / "student"], baselines=[root / "teacher"], config=config)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the count and the seed, so that a run can be repeated."""
    if not _arenas:
        return
    seed = config.getoption("--hypothesis-seed", default=None)
    terminalreporter.write_line(
        f"fuzz: {sum(arena.count for arena in _arenas)} cases (asked for {TOTAL}), seed "
        f"{'of the test names' if seed is None else seed}, {len(terminalreporter.stats.get('failed', []))} failures"
    )
    terminalreporter.write_line("fuzz: " + ", ".join(f"{count} {name}" for name, count in sorted(outcomes.items())))

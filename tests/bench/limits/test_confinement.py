"""A child is born with its limits, and its parent keeps none of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hrkd.errors import BenchError
from hrkd_bench.limits.confinement import Confinement, Limits, check
from hrkd_bench.measurement.process import WorkerProcess
from hrkd_bench.subjects import subject_of
from tiny_bundle import make_bundle, make_examples

needs_affinity = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")


def start(confinement: Confinement, *command: str) -> subprocess.CompletedProcess[str]:
    with confinement.starting():
        return subprocess.run(confinement.command(command), capture_output=True, text=True, check=False)


@needs_affinity
def test_the_child_inherits_the_cpus_and_the_parent_gets_its_own_back() -> None:
    """Prevents a "1-core" run on all cores, and an hrkd that stays on one core ever after."""
    own = os.sched_getaffinity(0)
    with Confinement(Limits(cpus=(min(own),))) as confinement:
        done = start(confinement, sys.executable, "-S", "-c", "import os; print(sorted(os.sched_getaffinity(0)))")
    assert done.stdout.strip() == f"[{min(own)}]"
    assert os.sched_getaffinity(0) == own


@needs_affinity
def test_a_cpu_that_is_not_ours_is_refused() -> None:
    """Prevents a run on other CPUs than the document names."""
    with pytest.raises(BenchError, match="may not run on CPUs"):
        check(Limits(cpus=(100_000,)))


def test_arguments_arrive_as_they_are() -> None:
    """Prevents a path with spaces, quotes or a dollar sign from being read by the shell that enters the limits."""
    words = ["a b", "$HOME", "'\"", "--", "; exit 3"]
    with Confinement(Limits(data_bytes=512 * 2**20)) as confinement:
        done = start(confinement, sys.executable, "-S", "-c", "import sys; print(sys.argv[1:])", *words)
    assert done.stdout.strip() == str(words), done


def test_data_beyond_the_limit_cannot_be_had() -> None:
    """Prevents an `rlimit-data` number that no limit stood behind."""
    code = "x = bytearray(200 * 10**6); print('got it')"
    for megabytes, says in ((600, "got it\n"), (100, "")):
        with Confinement(Limits(data_bytes=megabytes * 2**20)) as confinement:
            assert start(confinement, sys.executable, "-S", "-c", code).stdout == says


def test_without_limits_nothing_stands_between() -> None:
    """Prevents a shell in front of every ordinary measurement, and cold starts that include it."""
    with Confinement(Limits()) as confinement:
        assert confinement.command(["program", "argument"]) == ["program", "argument"]


def test_a_group_that_nobody_may_enter_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents a run outside the group that was made for it: entering must succeed before the program begins."""
    with Confinement(Limits(data_bytes=2**30)) as confinement:

        class Gone:
            folders = (tmp_path / "gone",)

            def remove(self) -> None:
                """Nothing to remove."""

        monkeypatch.setattr(confinement, "_group", Gone())
        done = start(confinement, sys.executable, "-S", "-c", "print('ran')")
    assert done.returncode == 125
    assert "ran" not in done.stdout


def test_a_worker_runs_under_its_limits(tmp_path: Path) -> None:
    """Prevents limits that the measuring process never receives."""
    make_bundle(tmp_path / "bundle")
    subject, example = subject_of(tmp_path / "bundle"), make_examples(("books", "films"), 2)[0]
    with WorkerProcess(subject, 1, Limits(data_bytes=24 * 2**20)) as worker, pytest.raises(BenchError, match="during"):
        worker.load(example)
    assert worker._process.poll() is not None

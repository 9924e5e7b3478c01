"""Profiles: the table, a user's own, what is refused, and one real measurement under limits."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hrkd.errors import BenchError
from hrkd.recipe import BenchConfig
from hrkd_bench import profiled as profiled_module
from hrkd_bench.document.schema import read_document
from hrkd_bench.limits import profiles
from hrkd_bench.limits.confinement import Limits
from hrkd_bench.limits.profiles import Profile, find_profile, grant, load_profiles
from hrkd_bench.machine.cgroup import CgroupLimits
from hrkd_bench.machine.cpus import affinity
from hrkd_bench.measurement import measure
from hrkd_bench.measurement.process import WorkerProcess
from hrkd_bench.profiled import profiled
from tiny_bundle import make_bundle


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_table_is_whole() -> None:
    """Prevents a shipped profile that limits something else than its name says."""
    table = load_profiles()
    assert table["1-core"] == Profile("1-core", "one core", cores=1)
    assert (table["256MB"].memory_bytes, table["512MB"].memory_bytes) == (256 * 10**6, 512 * 10**6)
    assert (table["quota-0.5"].quota, table["quota-1"].quota) == (0.5, 1.0)
    assert (table["pi-zero-2w-like"].cores, table["pi-zero-2w-like"].memory_bytes) == (4, 512 * 10**6)


def test_labels_say_what_a_limit_is_not() -> None:
    """Prevents numbers of this processor from being read as those of a slower one."""
    for profile in load_profiles().values():
        assert profile.label.endswith("Not the speed of any other processor.")
        assert ("stopwatch" in profile.label) == (profile.quota is not None)
        assert ("are not charged" in profile.label) == (profile.memory_bytes is not None)
        assert ("full speed, with its whole caches" in profile.label) == (profile.cores is not None)


def test_a_profile_of_the_user(tmp_path: Path) -> None:
    """Prevents limits that are lost between a row and the one that it is like."""
    path = write(
        tmp_path, "kiosk:\n  like: 256MB\n  what: our kiosk.\n  cores: 1\ntight:\n  like: kiosk\n  memory: 1GiB\n"
    )
    kiosk, tight = find_profile("kiosk", path), find_profile("tight", path)
    assert kiosk == Profile("kiosk", "our kiosk", cores=1, memory_bytes=256 * 10**6)
    assert (tight.cores, tight.memory_bytes, tight.what) == (1, 2**30, "our kiosk")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mine: {what: x}", "limits nothing"),
        ("mine: {what: x, core: 1}", "unknown key `core`"),
        ("mine: {cores: 1}", "`what` is missing"),
        ("mine: {what: x, cores: 1.5}", "`cores` is 1.5"),
        ("mine: {what: x, cores: true}", "`cores` is True"),
        ("mine: {what: x, quota: 0}", "`quota` is 0"),
        ("mine: {what: x, quota: .nan}", "`quota` is nan"),
        ("mine: {what: x, memory: 256}", "`memory` is 256"),
        ("mine: {what: x, memory: 256 apples}", "`memory` is '256 apples'"),
        ("mine: {what: x, memory: 1MB}", "nothing runs in less"),
        ("mine: {like: 3-core, what: x}", "no profile `3-core`"),
        ("mine: {like: [1-core], what: x}", "`like` is ['1-core'], not the name"),
        ("mine: {like: {a: b}, what: x}", "`like` is"),
        ("1-core: {what: x, cores: 2}", "is taken"),
        ("'../x': {what: x, cores: 2}", "other characters"),
        ("- a", "no `name: {...}` mapping"),
        ("a: {b: 1, b: 2}", "not valid YAML"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, words: str) -> None:
    """Prevents a misspelt limit from being no limit."""
    with pytest.raises(BenchError) as caught:
        load_profiles(write(tmp_path, text))
    assert words in caught.value.message


def test_an_unknown_name_is_refused() -> None:
    """Prevents a run without limits under the name of a profile."""
    with pytest.raises(BenchError, match="unknown") as caught:
        find_profile("1-cor")
    assert "1-core" in str(caught.value.hint)


def test_more_cores_than_there_are_is_refused() -> None:
    """Prevents a "64 core" measurement on the cores of this machine."""
    with pytest.raises(BenchError, match=f"needs 9999 cores, this process may use {len(affinity())}"):
        grant(Profile("big", "big", cores=9999))


@pytest.mark.parametrize(
    ("name", "words"),
    [("quota-1", "1 of a core's time, and hrkd itself gets 0.5"), ("512MB", "512 MB, and hrkd itself gets 400 MB")],
)
def test_a_profile_wider_than_our_own_limits_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, words: str) -> None:
    """Prevents half of a core, which is all that the container has, from being measured as `quota-1`."""
    monkeypatch.setattr(profiles, "check", lambda limits: 2)
    monkeypatch.setattr(profiles, "read_limits", lambda: CgroupLimits(0.5, 400 * 10**6))
    with pytest.raises(BenchError, match=words):
        grant(find_profile(name))
    for smaller in ("quota-0.5", "256MB", "1-core"):
        grant(find_profile(smaller))


def test_threads_follow_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents threads that use a quota up and then all stand still."""
    monkeypatch.setattr(profiles, "check", lambda limits: 2)
    monkeypatch.setattr(profiles, "affinity", lambda: [0, 1, 2, 3])
    monkeypatch.setattr(profiles, "available_cpus", lambda: 4)
    granted = {
        name: grant(find_profile(name)).threads for name in ("1-core", "2-core", "quota-0.5", "quota-1", "256MB")
    }
    assert granted == {"1-core": 1, "2-core": 2, "quota-0.5": 1, "quota-1": 1, "256MB": 4}


def test_what_cannot_be_imposed_is_refused_before_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents minutes of measuring that end with "the quota could not be set", or worse: without it."""

    def refuse(limits: Limits) -> None:
        raise BenchError("no group", hint="systemd-run")

    monkeypatch.setattr(profiles, "check", refuse)
    monkeypatch.setattr(profiled_module, "bench", lambda *arguments, **options: pytest.fail("measured anyway"))
    with pytest.raises(BenchError, match="no group"):
        profiled(find_profile("quota-0.5"), [tmp_path], config=BenchConfig())


def test_a_real_measurement_on_one_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents a document that names a profile whose limits no process had."""
    if len(affinity()) < 2:
        pytest.skip("this process may use one CPU only, so keeping to one shows nothing")
    make_bundle(tmp_path / "bundle", per_domain=5)
    seen: list[list[int]] = []

    class Watched(WorkerProcess):
        def close(self) -> None:
            seen.append(sorted(os.sched_getaffinity(self._process.pid)))
            super().close()

    monkeypatch.setattr(measure, "WorkerProcess", Watched)
    config = BenchConfig(
        threads=2, rounds=1, warmup_texts=2, cold_starts=1, min_samples=1, min_seconds=0, lengths=(), max_texts=10
    )
    document = read_document(profiled(find_profile("1-core"), [tmp_path / "bundle"], config=config))
    assert seen == [affinity()[:1]]
    assert document.profile is not None
    assert document.profile.cpus == affinity()[:1]
    assert (document.profile.method, document.profile.threads) == (None, 1)
    assert document.results[0].threads == 1
    assert not any("threads were asked for" in reason for reason in document.results[0].invalid_reasons)
    assert len(affinity()) >= 2

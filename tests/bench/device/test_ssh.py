"""Measuring over a real ssh connection, and everything that can end one."""

from __future__ import annotations

import getpass
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from hrkd.errors import BenchError
from hrkd.recipe import BenchConfig
from hrkd_bench.bench import bench
from hrkd_bench.device import remote
from hrkd_bench.device.facts import ask
from hrkd_bench.device.merge import with_device
from hrkd_bench.device.remote import measure_there
from hrkd_bench.device.ssh import Connection, Target
from hrkd_bench.document.schema import read_document
from hrkd_bench.measurement import memory_limit, roofline
from ssh_server import QUICK, Server, make_key

Step = Callable[[str, int, int], None]


@pytest.fixture
def measure(server: Server, bundle: Path, tmp_path: Path) -> Callable[..., Any]:
    """Measure the small bundle on the device; keywords replace what is passed."""

    def call(target: Target | None = None, config: BenchConfig = QUICK, **options: Any) -> Any:
        given = {"progress": ignore, "note": ignore, **options}
        return measure_there(target or server.target(tmp_path / "there"), [bundle], [], config, **given)

    return call


def ignore(*_: object) -> None:
    """Report to nobody."""


def left_behind(folder: Path, seconds: float = 15.0) -> list[str]:
    """Return what stands in the device's folder when its processes had time to end."""
    deadline = time.monotonic() + seconds
    while folder.exists() and any(folder.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def processes_left(folder: Path, seconds: float = 15.0) -> list[psutil.Process]:
    """Return what still runs there when it had time to end: who removed the folder still has to leave."""
    deadline = time.monotonic() + seconds
    while (found := processes_in(folder)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def processes_in(folder: Path) -> list[psutil.Process]:
    """Return the measurement's processes on the device: those that were started in its folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if any(str(folder) in part for part in process.cmdline()) and process.name() != "ssh":
                found.append(process)
        except psutil.Error:
            continue
    return found


def shim(path: Path, *lines: str) -> str:
    """Write a shell script that stands for the device's Python, and return its path."""
    path.write_text("\n".join(["#!/bin/sh", *lines, f'exec {sys.executable} "$@"', ""]))
    path.chmod(0o755)
    return str(path)


def refuse(*_: object, **__: object) -> None:
    """Stand for what must not be measured on this machine."""
    raise AssertionError("measured on this machine")


def test_the_whole_run(
    measure: Callable[..., Any], bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents a number of another model, another text or another machine from standing in the document."""
    monkeypatch.setattr(roofline, "measure_rates", refuse)
    said: list[str] = []
    phases: list[str] = []
    measured = measure(note=said.append, progress=lambda phase, done, total: phases.append(phase))
    document = read_document(measured.document("shelf"))
    here = read_document(bench([bundle], config=QUICK))
    assert document.texts == here.texts
    assert document.results[0].accuracy == here.results[0].accuracy
    assert document.results[0].model_sha256 == here.results[0].model_sha256
    assert document.results[0].device == "shelf"
    assert document.results[0].latency_ms.end_to_end.n == 24
    assert document.environment.python == here.environment.python
    assert document.roofline is not None
    assert document.roofline.fp32_per_s > 1e6
    assert left_behind(tmp_path / "there") == []
    assert "onnxruntime" in said[0]
    assert {"copying the runner", "measuring"} <= set(phases)
    merged = read_document(with_device(here.model_dump(mode="json"), document.model_dump(mode="json"), "shelf"))
    assert [result.name for result in merged.results] == ["tiny", "tiny @ shelf"]
    assert merged.environments == {"shelf": document.environment}


@pytest.mark.slow
def test_the_memory_limit_is_the_devices(measure: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents this machine's memory limit from standing in a device's document. Slow: every try is a new process."""
    monkeypatch.setattr(memory_limit, "smallest_limit", refuse)
    limit = read_document(measure(memory_limit=True).document("shelf")).results[0].memory_limit
    assert limit is not None
    assert limit.texts == 24
    assert limit.method is None or limit.limit_bytes


@pytest.mark.parametrize("phase", ["copying the runner", "measuring"])
def test_a_killed_connection(
    measure: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    """Prevents half a result, a measurement that goes on for nobody, and a device that fills up."""
    connections: list[Connection] = []

    class Watched(Connection):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            connections.append(self)

    monkeypatch.setattr(remote, "Connection", Watched)

    def kill(current: str, done: int, total: int) -> None:
        if current == phase:
            os.kill(connections[0].pid, signal.SIGKILL)

    with pytest.raises(BenchError, match=f"was lost while {phase}"):
        measure(progress=kill)
    assert left_behind(tmp_path / "there") == []
    assert processes_left(tmp_path / "there") == []


SILENT = QUICK.model_copy(update={"rate": 1.0, "rate_seconds": 120.0})
"""Says nothing for two minutes while requests come one by one."""


@pytest.mark.parametrize(("config", "phase"), [(QUICK, "measuring"), (SILENT, "measuring the open loop")])
def test_control_c_ends_the_device_too(
    measure: Callable[..., Any], tmp_path: Path, config: BenchConfig, phase: str
) -> None:
    """Prevents a device from measuring on, and so from disturbing the next run, after the user has stopped it."""

    def stop(current: str, done: int, total: int) -> None:
        if current == phase:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(progress=stop, config=config)
    assert left_behind(tmp_path / "there") == []
    assert processes_left(tmp_path / "there") == []


def test_what_a_dead_run_left_is_removed_by_the_next(
    measure: Callable[..., Any], server: Server, tmp_path: Path
) -> None:
    """Prevents power cuts from filling a small disk, and a run that is alive from being removed under its feet."""
    there = tmp_path / "there"
    alive: list[tuple[str, ...]] = []

    def cut_power(phase: str, done: int, total: int) -> None:
        if phase == "measuring" and not alive:
            alive.append(ask(server.target(there)).removed)
            for process in processes_in(there):
                process.kill()

    with pytest.raises(BenchError, match=r"ended with exit code|was lost"):
        measure(progress=cut_power, config=QUICK.model_copy(update={"cold_starts": 200}))
    assert alive == [()]
    [stale] = there.glob("run-*[!k]")
    assert (stale / "runner.pyz").exists()
    said: list[str] = []
    measure(note=said.append)
    assert f"removed {stale}" in said[0]
    assert left_behind(there) == []


def test_a_full_disk_while_copying(measure: Callable[..., Any], server: Server, tmp_path: Path) -> None:
    """Prevents a cut runner from being started, or a traceback as the answer to a full disk."""
    python = shim(tmp_path / "python", 'case "$*" in *wheels_bytes*) ulimit -f 20 ;; esac')
    with pytest.raises(BenchError, match=r"the device says: .*File too large"):
        measure(server.target(tmp_path / "there", python))
    assert left_behind(tmp_path / "there") == []


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="mounts a small file system, which takes root")
def test_too_little_disk_is_refused_before_copying(measure: Callable[..., Any], server: Server, tmp_path: Path) -> None:
    """Prevents minutes of copying to a device that cannot hold the bundle."""
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(small)], check=True)
    try:
        phases: list[str] = []
        with pytest.raises(BenchError, match=r"has 0 MB free for .*small"):
            measure(server.target(small), progress=lambda phase, done, total: phases.append(phase))
        assert phases == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        ("platform.machine = lambda: 'armv7l'", "32-bit programs .armv7l"),
        ("struct.calcsize = lambda _: 4", "Python of 32 bits"),
        ("sys.version_info = (3, 9, 2)", r"has Python 3\.9\.2, 3\.11 or later is needed"),
        ("importlib.util.find_spec = lambda name: None", "lacks numpy, onnxruntime, tokenizers"),
    ],
)
def test_a_device_that_cannot_measure_is_refused(
    measure: Callable[..., Any], server: Server, tmp_path: Path, patch: str, words: str
) -> None:
    """Prevents an import error of a library, or an illegal instruction, as the explanation of a wrong device."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(f"import importlib.util, platform, struct, sys\n{patch}\n")
    python = shim(tmp_path / "python", f"export PYTHONPATH={site}")
    with pytest.raises(BenchError, match=words):
        measure(server.target(tmp_path / "there", python))
    assert left_behind(tmp_path / "there") == []


def test_a_changed_host_key_is_refused(measure: Callable[..., Any], server: Server, tmp_path: Path) -> None:
    """Prevents a bundle from being sent to a machine that only pretends to be the device."""
    make_key(tmp_path / "other")
    known = server.known_hosts.read_text()
    address = known.split()[0]
    (tmp_path / "known_hosts").write_text(f"{address} {(tmp_path / 'other.pub').read_text()}")
    config = tmp_path / "ssh_config"
    config.write_text(server.config.read_text().replace(str(server.known_hosts), str(tmp_path / "known_hosts")))
    with pytest.raises(BenchError, match="host key is another one") as caught:
        measure(Target("device", config=config, python=sys.executable, folder=str(tmp_path / "there")))
    assert "ssh-keygen -R" in str(caught.value.hint)
    config.write_text(config.read_text().replace(str(tmp_path / "known_hosts"), os.devnull))
    with pytest.raises(BenchError, match="host key is not known"):
        measure(Target("device", config=config, python=sys.executable, folder=str(tmp_path / "there")))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"host": "-oProxyCommand=touch evil"}, "is no host"),
        ({"host": "a b"}, "is no host"),
        ({"port": 1}, "nothing listens for ssh"),
        ({"python": "/nowhere/python3"}, "cannot start `/nowhere/python3`"),
        ({"python": "/nowhere/python3; touch evil"}, "cannot start"),
    ],
)
def test_what_cannot_be_reached_is_said(
    measure: Callable[..., Any], server: Server, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    """Prevents ssh's options and the remote shell from being reached through a host or a path, and bare numbers."""
    values = {"host": "device", "config": server.config, "folder": str(tmp_path / "there"), **changes}
    with pytest.raises(BenchError, match=words):
        measure(Target(**values))
    assert not Path("evil").exists()
    assert not (Path.home() / "evil").exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bundles/0/model.onnx", r"model\.onnx` was changed"),
        ("hrkd_bench/measurement/measure.py", "ran something else"),
    ],
)
def test_other_bytes_than_were_sent_are_refused(
    measure: Callable[..., Any], server: Server, tmp_path: Path, name: str, words: str
) -> None:
    """Prevents the number of a model, or of a protocol, that somebody exchanged on the device."""
    site = tmp_path / "site"
    site.mkdir()
    change = (
        f"if 'hrkd_bench.device.session' in sys.orig_argv:\n    open(sys.orig_argv[4] + '/{name}', 'ab').write(b'#')"
    )
    (site / "sitecustomize.py").write_text(f"import sys\n{change}\n")
    python = shim(tmp_path / "python", f"export PYTHONPATH={site}")
    with pytest.raises(BenchError, match=words):
        measure(server.target(tmp_path / "there", python))
    assert left_behind(tmp_path / "there") == []


def test_port_and_identity_reach_the_client(server: Server, tmp_path: Path) -> None:
    """Prevents an option that is accepted and ignored: the user's own key or port would be tried instead."""
    lines = server.config.read_text().splitlines()
    (tmp_path / "ssh_config").write_text("\n".join(line for line in lines[1:] if "Known" in line or "Strict" in line))
    port = int(next(line for line in lines if "Port" in line).split()[1])
    target = Target(
        f"{getpass.getuser()}@127.0.0.1",
        port=port,
        identity=server.folder / "user",
        config=tmp_path / "ssh_config",
        python=sys.executable,
        folder=str(tmp_path / "there"),
    )
    assert ask(target).bits == 64
    make_key(tmp_path / "stranger")
    with pytest.raises(BenchError, match="does not let us in"):
        ask(replace(target, identity=tmp_path / "stranger"))


def test_a_folder_without_wheels_is_refused(measure: Callable[..., Any], tmp_path: Path) -> None:
    """Prevents a mistyped folder from being found out after the copying."""
    with pytest.raises(BenchError, match="holds no wheels") as caught:
        measure(wheels=tmp_path)
    assert "pip download" in str(caught.value.hint)
    assert not (tmp_path / "there").exists()

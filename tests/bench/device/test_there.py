"""The programs that are sent to a device, without a connection: what they leave there, and how long they wait."""

from __future__ import annotations

import fcntl
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hrkd_bench.bench import recognise
from hrkd_bench.device.pack import pack
from hrkd_bench.device.ssh import THERE
from ssh_server import QUICK

NAMED = {"wheels_bytes": 0, "wheels_sha256": "", "sha256": "0"}


def start(name: str, argument: str, setting: str = "", **options: Any) -> subprocess.Popen[bytes]:
    """Start one of them with an argument, after a line of Python that may change it."""
    script = f"import sys; sys.path.insert(0, {str(THERE)!r}); import {name}; {setting}\nsys.exit({name}.main())"
    command = [sys.executable, "-c", script, argument]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_receiver_does_not_wait_for_a_pulled_cable(tmp_path: Path) -> None:
    """Prevents a folder that stays locked, and a disk that stays full, because no goodbye came while copying."""
    wanted = json.dumps({**NAMED, "folder": str(tmp_path), "bytes": 100})
    process = start("receive", wanted, "receive.SILENCE_SECONDS = 0.5")
    assert process.stdin is not None
    process.stdin.write(b"a beginning")
    process.stdin.flush()
    try:
        code = process.wait(timeout=20)
    finally:
        process.kill()
        said = process.communicate()[0]
    assert code == 2
    assert b"nothing came" in said
    assert names_in(tmp_path) == []


def test_a_folder_that_cannot_be_made_leaves_no_lock(tmp_path: Path) -> None:
    """Prevents one lock more on the device with every try on a full disk."""
    wanted = json.dumps({**NAMED, "folder": str(tmp_path), "bytes": 100})
    setting = (
        "import pathlib; real = pathlib.Path.mkdir\n"
        "def mkdir(self, *given, **more):\n"
        "    if self.name.startswith('run-'): raise OSError(28, 'No space left on device')\n"
        "    real(self, *given, **more)\n"
        "pathlib.Path.mkdir = mkdir"
    )
    said = start("receive", wanted, setting).communicate(timeout=20)[0]
    assert b"No space left on device" in said
    assert names_in(tmp_path) == []


def test_locks_without_a_folder_are_removed(tmp_path: Path) -> None:
    """Prevents locks that pile up for good, and the removal of one whose run is alive."""
    (tmp_path / "run-orphan.lock").touch()
    (tmp_path / "run-dead").mkdir()
    with (tmp_path / "run-alive.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = start("probe", str(tmp_path)).communicate(timeout=20)[0]
    facts = json.loads(said.decode().partition("hrkd> ")[2])
    assert facts["removed"] == [str(tmp_path / "run-dead")]
    assert names_in(tmp_path) == ["run-alive.lock"]


def test_a_lock_that_a_probe_took_for_an_orphan_is_made_again(tmp_path: Path) -> None:
    """Prevents a run without a lock, whose folder the next probe would remove under its feet."""
    setting = (
        "import fcntl, os; real, seen = fcntl.flock, []\n"
        "def flock(lock, how):\n"
        "    if not seen: seen.append(1); [os.unlink(os.path.join(sys.argv[1], n)) for n in os.listdir(sys.argv[1])]\n"
        "    real(lock, how)\n"
        "fcntl.flock = flock\n"
        "receive.main = lambda: print(receive.new_folder(receive.Path(sys.argv[1])))"
    )
    said = start("receive", str(tmp_path), setting).communicate(timeout=20)[0].decode().strip()
    assert names_in(tmp_path) == [Path(said).name, f"{Path(said).name}.lock"]


@pytest.fixture(scope="module")
def runner(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pack") / "runner.pyz"
    pack(path, recognise([bundle], []), [], QUICK)
    return path


def run_packed(runner: Path, folder: Path, *options: str, site: Path) -> subprocess.CompletedProcess[str]:
    """Run it in a folder, with modules of the test's own before all others."""
    command = [sys.executable, str(runner), "--work", str(folder), *options]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(site)}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=folder, env=environment, stdin=subprocess.DEVNULL
    )


def test_a_refused_runner_takes_its_lock_along(runner: Path, tmp_path: Path) -> None:
    """Prevents one lock more on the device with every refusal over ssh."""
    there = tmp_path / "there"
    (there / "run-1").mkdir(parents=True)
    (there / "run-1.lock").touch()
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text("import sys\nsys.version_info = (3, 9, 2)\n")
    done = run_packed(runner, tmp_path, "--stream", "--remove", str(there / "run-1"), site=site)
    assert (done.returncode, "3.11 or later" in done.stdout) == (2, True)
    assert names_in(there) == []


def test_a_library_that_cannot_be_imported_leaves_nothing(runner: Path, tmp_path: Path) -> None:
    """Prevents unpacked models that nothing ever sweeps up, and a traceback where a library lacks a part."""
    work, site = tmp_path / "work", tmp_path / "site"
    work.mkdir()
    (site / "numpy").mkdir(parents=True)
    (site / "numpy" / "__init__.py").write_text("raise ImportError('libopenblas.so.0 is missing')\n")
    done = run_packed(runner, work, site=site)
    assert done.returncode == 2
    assert done.stderr.startswith("error: numpy ")
    assert "libopenblas.so.0 is missing" in done.stderr
    assert names_in(work) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_before_the_first_line_of_the_measurement(runner: Path, tmp_path: Path, number: int) -> None:
    """Prevents unpacked models that nothing ever sweeps up after Ctrl-C in the seconds of the imports."""
    work, site = tmp_path / "work", tmp_path / "site"
    work.mkdir()
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        f"import os, sys\nif 'hrkd_bench.device.session' in sys.orig_argv: os.kill(os.getpid(), {int(number)})\n"
    )
    done = run_packed(runner, work, site=site)
    assert done.returncode == 130
    assert names_in(work) == []

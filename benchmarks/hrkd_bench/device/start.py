"""The first lines of a packed runner: say what is missing, unpack, and become the measurement.

Read by whatever Python the device has, so nothing here is newer than 3.7, and nothing of ours is imported.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import signal
import struct
import sys
import tempfile
import zipfile
from pathlib import Path

NEEDED = ("numpy", "onnxruntime", "tokenizers")
OLDEST = (3, 11)
LOCK = ".lock"
"""What the name of a folder that was sent over ssh has at its end for its lock."""
ROOM = 3
"""Free disk that is asked for, in sizes of this file: unpacked, compiled, and some to spare."""


class Refused(Exception):
    """Why nothing is measured."""


def arguments(program: str) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog=program, description="Measure the packed bundles on this machine.")
    parser.add_argument("--output", default="hrkd-result.json", help="file to write (default: %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace that file")
    parser.add_argument("--work", help="folder for temporary files")
    parser.add_argument("--emulated", action="store_true", help="this is an emulator: check answers, time nothing")
    parser.add_argument("--stream", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--remove", help=argparse.SUPPRESS)
    return parser.parse_args()


def check_python() -> None:
    """Refuse a Python that cannot run the measurement, with what to do."""
    if sys.version_info < OLDEST:
        raise Refused(
            f"this is Python {platform.python_version()}, {OLDEST[0]}.{OLDEST[1]} or later is needed: "
            "start this file with another one"
        )
    if struct.calcsize("P") != 8:
        raise Refused(f"this Python is a 32-bit program ({platform.machine()}): onnxruntime exists for 64 bits only")
    absent = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if absent:
        raise Refused(f"{', '.join(absent)} missing: `{sys.executable} -m pip install {' '.join(absent)}`")
    try:
        import numpy  # noqa: F401 - while there is nothing that would be left behind
    except ImportError as error:
        raise Refused(f"numpy cannot be imported: {str(error.__cause__ or error).strip()}") from error


def check_output(output: Path, overwrite: bool) -> None:
    """Refuse an output that cannot be written, before an hour of measuring."""
    if output.exists() and not overwrite:
        raise Refused(f"{output} exists already: choose another --output, or pass --overwrite")
    if not os.access(str(output.parent), os.W_OK):
        raise Refused(f"{output.parent} cannot be written to: choose another --output")


def unpack(archive: Path, folder: Path) -> None:
    """Unpack this file, which whoever started it trusts as a program, and check each file against the plan."""
    needed, free = ROOM * archive.stat().st_size, shutil.disk_usage(str(folder.parent)).free
    if free < needed:
        raise Refused(
            f"{folder.parent} has {free / 1e6:.0f} MB free, {needed / 1e6:.0f} MB are needed: "
            "free some, or choose another folder with --work"
        )
    try:
        with zipfile.ZipFile(str(archive)) as packed:
            packed.extractall(str(folder))
            plan = json.loads(packed.read("plan.json").decode("utf-8"))
    except zipfile.BadZipFile as error:
        raise Refused(f"{archive.name} is damaged ({error}): copy this file again") from error
    for name, expected in plan["files"].items():
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != expected:
            raise Refused(f"{name} in {archive.name} is damaged: copy this file again")


def become_the_measurement(given: argparse.Namespace, output: Path, folder: Path) -> None:
    """Replace this process: a second interpreter beside it would cost memory that is being measured."""
    root = str(folder / "unpacked")
    command = [sys.executable, "-P", "-m", "hrkd_bench.device.session", root, "--remove", str(folder)]
    command += ["--stream"] if given.stream else ["--output", str(output)]
    command += ["--emulated"] if given.emulated else []
    inherited = [path for path in [os.environ.get("PYTHONPATH")] if path]
    sys.stdout.flush()
    if hasattr(signal, "pthread_sigmask"):  # a signal waits until the measurement can clean up after itself
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    os.execve(  # noqa: S606 - a fixed command, and no shell
        sys.executable, command, {**os.environ, "PYTHONPATH": os.pathsep.join([root, *inherited])}
    )


def remove(folder: Path) -> None:
    """Remove a folder, and its lock where it was sent over ssh."""
    shutil.rmtree(str(folder), ignore_errors=True)
    lock = Path(str(folder) + LOCK)
    if lock.exists():
        lock.unlink()


def main() -> int:
    """Check, unpack, start."""
    archive = Path(sys.argv[0]).resolve()
    given = arguments(archive.name)
    output = Path(given.output).resolve()
    folder = Path(given.remove) if given.remove else None
    try:
        check_python()
        if not given.stream:
            check_output(output, given.overwrite)
        folder = folder or Path(tempfile.mkdtemp(prefix="hrkd-bench-", dir=given.work))
        unpack(archive, folder / "unpacked")
        become_the_measurement(given, output, folder)
    except (Refused, OSError) as error:
        message = str(error)
    finally:  # never reached when all went well
        if folder is not None:
            remove(folder)
    if given.stream:
        sys.stdout.write("\nhrkd> " + json.dumps({"event": "error", "message": message, "hint": None}) + "\n")
    else:
        sys.stderr.write(f"error: {message}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())

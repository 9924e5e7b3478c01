"""Sent to a device second: take the runner, and wheels where there are some, from stdin, and become the measurement.

The folder of the run is locked before it exists and as long as the measurement lives, so that a later run can tell
what was left behind by one that died.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import select
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

LIBRARIES = ("numpy", "onnxruntime", "tokenizers")
PREFIX = "run-"
LOCK = ".lock"
PIECE = 1 << 16
SILENCE_SECONDS = 120
"""How long nothing may come while something is copied: a cable that is pulled sends no goodbye."""


class Refused(Exception):
    """Why nothing is measured."""


def event(**values: object) -> None:
    """Say something to the other side."""
    sys.stdout.write("\nhrkd> " + json.dumps(values) + "\n")
    sys.stdout.flush()


def new_folder(parent: Path) -> Path:
    """Make the folder of this run, and lock it until the last process that inherits the lock is gone."""
    import fcntl

    parent.mkdir(parents=True, exist_ok=True)
    while True:
        folder = parent / (PREFIX + secrets.token_hex(4))
        path = Path(str(folder) + LOCK)
        lock = os.open(str(path), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():  # a probe that came between the two removes it as one that nobody holds
            break
        os.close(lock)
    os.set_inheritable(lock, True)
    try:
        folder.mkdir(mode=0o700)
    except OSError:
        path.unlink()
        raise
    return folder


def take(path: Path, size: int, expected: str, what: str) -> None:
    """Write exactly so many bytes of stdin to a file; what follows them is a heartbeat."""
    digest, left = hashlib.sha256(), size
    with path.open("wb") as stream:
        while left:
            if not select.select([0], [], [], SILENCE_SECONDS)[0]:
                raise Refused(f"nothing came for {SILENCE_SECONDS} s in the middle of {what}")
            piece = os.read(0, min(PIECE, left))
            if not piece:
                raise Refused("the connection ended in the middle of " + what)
            stream.write(piece)
            digest.update(piece)
            left -= len(piece)
            event(event="progress", phase="copying " + what, done=size - left, total=size)
    if digest.hexdigest() != expected:
        raise Refused(what + " arrived damaged: try again")


def install(archive: Path, folder: Path) -> str:
    """Make a virtual environment from wheels alone, and return its Python."""
    event(event="progress", phase="installing the wheels", done=0, total=1)
    wheels, environment = folder / "wheels", folder / "venv"
    wheels.mkdir()
    with tarfile.open(str(archive)) as packed:
        for member in packed.getmembers():
            source = packed.extractfile(member)
            if source is not None:
                (wheels / Path(member.name).name).write_bytes(source.read())
    run(
        [sys.executable, "-m", "venv", str(environment)],
        "python3-venv may be missing (Debian: apt install python3-venv)",
    )
    python = str(environment / "bin" / "python")
    options = ["install", "--quiet", "--no-index", "--no-deps", "--find-links", str(wheels)]
    run([python, "-m", "pip", *options, *LIBRARIES], "the wheels must be for this Python and this processor")
    shutil.rmtree(str(wheels))
    return python


def run(command: list[str], hint: str) -> None:
    """Run a program, and repeat its last words when it fails."""
    answer = subprocess.run(  # noqa: S603 - fixed commands, no shell
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if answer.returncode:
        words = answer.stdout.decode("utf-8", "replace").strip().splitlines()[-3:]
        raise Refused(" ".join(command[1:4]) + " failed: " + " / ".join(words) + ": " + hint)


def main() -> int:
    """Receive, then start the runner in this process."""
    given = json.loads(sys.argv[1])
    folder = None
    try:
        folder = new_folder(Path(given["folder"]).expanduser())
        event(event="folder", path=str(folder))
        runner, wheels = folder / "runner.pyz", folder / "wheels.tar"
        take(runner, given["bytes"], given["sha256"], "the runner")
        python = sys.executable
        if given["wheels_bytes"]:
            take(wheels, given["wheels_bytes"], given["wheels_sha256"], "the wheels")
            python = install(wheels, folder)
            wheels.unlink()
        os.execv(python, [python, str(runner), "--stream", "--remove", str(folder)])  # noqa: S606
    except (Refused, OSError) as error:
        event(event="error", message="the device says: " + str(error), hint=None)
    finally:  # never reached when all went well
        if folder is not None:
            shutil.rmtree(str(folder), ignore_errors=True)
            Path(str(folder) + LOCK).unlink()
    return 2


if __name__ == "__main__":
    sys.exit(main())

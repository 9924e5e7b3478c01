"""The system's ssh client: one connection at a time, never a password prompt, never a shell string from the user."""

from __future__ import annotations

import base64
import json
import re
import shlex
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from hrkd.errors import BenchError
from hrkd_bench.device.channel import HEARTBEAT_SECONDS, MARK
from hrkd_bench.device.result import RESULT_LIMIT_BYTES

THERE = Path(__file__).with_name("there")
_LINE_LIMIT = 1_000_000
_PIECE = 1 << 16
_LAST_WORDS = 6
_GOODBYE_SECONDS = 60.0  # what a device is given to end its processes and remove its folder
_BLOCKED_SECONDS = 5.0  # after which a copy that stands still is given up
_HOST = re.compile(r"([A-Za-z0-9._][A-Za-z0-9._-]*@)?[A-Za-z0-9._:\[\]%][A-Za-z0-9._:\[\]%-]*")
_OPTIONS = ("BatchMode=yes", "ConnectTimeout=15", "ServerAliveInterval=15", "ServerAliveCountMax=4")
_FAILURES = {
    "REMOTE HOST IDENTIFICATION HAS CHANGED": (
        "the device's host key is another one than before",
        "if the device was set up anew, remove the old key with `ssh-keygen -R HOST`; otherwise do not connect",
    ),
    "Host key verification failed": (
        "the device's host key is not known",
        "connect once by hand with `ssh`, compare the key, and accept it",
    ),
    "Permission denied": (
        "the device does not let us in",
        "no password is asked for: set up a key, or pass --identity",
    ),
    "Could not resolve": ("the device's name is not known", "check it, or give its address"),
    "Connection refused": ("nothing listens for ssh on the device", "start sshd there, or pass --port"),
    "timed out": ("the device does not answer", "is it on, and in this network?"),
    "No route to host": ("the device cannot be reached", "is it on, and in this network?"),
}


@dataclass(frozen=True, slots=True)
class Target:
    """A machine that ssh reaches.

    Attributes:
        host: ``user@device``, ``device``, or an alias of the ssh configuration.
        port: Where its sshd listens; ssh's own choice when left out.
        identity: Private key to use alone.
        config: Configuration file instead of the user's.
        python: Python on the device; found in its PATH when it is a bare name, in the home folder after ``~/``.
        folder: Where our folder is made on the device.
    """

    host: str
    port: int | None = None
    identity: Path | None = None
    config: Path | None = None
    python: str = "python3"
    folder: str = "~/.cache/hrkd-bench"

    def command(self, remote: str) -> list[str]:
        """Return the client's command line.

        Raises:
            BenchError: There is no ssh client, or the host is no host.
        """
        program = shutil.which("ssh")
        if program is None:
            raise BenchError("there is no `ssh` here", hint="install OpenSSH's client")
        if not _HOST.fullmatch(self.host):
            raise BenchError(f"{self.host[:60]!a} is no host", hint="give user@device; --port is an option of its own")
        options = [part for option in _OPTIONS for part in ("-o", option)]
        options += ["-F", str(self.config)] if self.config else []
        options += ["-p", str(self.port)] if self.port else []
        options += ["-i", str(self.identity), "-o", "IdentitiesOnly=yes"] if self.identity else []
        return [program, "-T", *options, "--", self.host, remote]

    def program(self, name: str, *arguments: str) -> str:
        """Return the remote command that runs one of the programs in `there`.

        Its source travels as one word without quotes or line ends, which every login shell reads alike.
        """
        source = base64.b64encode((THERE / f"{name}.py").read_bytes()).decode()
        start = "import base64,sys;exec(base64.b64decode(sys.argv.pop(1)))"
        words = [shlex.quote(part) for part in ("-c", start, source, *arguments)]
        return " ".join([_quoted_path(self.python), *words])


class Connection:
    """One running ssh client. Use as a context manager: leaving it ends the connection, and what runs behind it.

    Args:
        target: Where to.
        remote: What to run there.
        payloads: Files to send to its stdin, one after the other; heartbeats follow.
    """

    def __init__(self, target: Target, remote: str, payloads: Sequence[Path] = ()) -> None:
        command = target.command(remote)
        self._target = target
        self._payloads = payloads
        self._over = threading.Event()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `close`
        self._process = subprocess.Popen(  # noqa: S603 - a list, no shell
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            start_new_session=True,  # Ctrl-C goes to us, and we say goodbye to the device
        )
        self._sender = threading.Thread(target=self._send, daemon=True)
        self._sender.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Process id of the ssh client."""
        return self._process.pid

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield what the device says until it says no more; other lines, of its login shell, are passed over."""
        while line := self._stdout.readline(_LINE_LIMIT):
            if not line.startswith(MARK):
                continue
            try:
                value = json.loads(line.removeprefix(MARK))
            except (ValueError, RecursionError):
                continue
            if isinstance(value, dict):
                yield value

    def read(self, size: int) -> bytes:
        """Return the bytes that follow an event; fewer when the connection is lost.

        Raises:
            BenchError: So many that no result has them.
        """
        if size > RESULT_LIMIT_BYTES:
            raise BenchError(f"the device wants to send {size} bytes", hint="this is no result; look at the device")
        return self._stdout.read(size)

    def failure(self, during: str) -> BenchError:
        """Say why the connection is over."""
        code = self._process.wait()
        self._stderr.seek(0)
        words = self._stderr.read().decode("utf-8", errors="replace").strip()
        for sign, (message, hint) in _FAILURES.items():
            if sign in words and code == 255:
                return BenchError(f"{self._target.host}: {message}", hint=hint)
        last = "\n".join(f"  {line}" for line in words.splitlines()[-_LAST_WORDS:])
        said = f"; its last words:\n{last}" if last else ""
        if code in (126, 127):
            return BenchError(
                f"{self._target.host} cannot start `{self._target.python}`{said}", hint="pass --python PATH"
            )
        if code == 255 or code < 0:
            return BenchError(
                f"the connection to {self._target.host} was lost while {during}{said}",
                hint="nothing was written here; start again, what is left on the device is then removed",
            )
        return BenchError(f"{self._target.host} ended with exit code {code} while {during}{said}")

    def close(self) -> None:
        """End the connection: the device sees the end of its input, ends its processes and removes its folder."""
        self._over.set()
        self._sender.join(timeout=_BLOCKED_SECONDS)
        try:
            self._process.wait(timeout=_GOODBYE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stdout.close()
        self._stderr.close()

    @property
    def _stdout(self) -> IO[bytes]:
        if self._process.stdout is None:
            raise RuntimeError("the client was started without a channel")
        return self._process.stdout

    def _send(self) -> None:
        """Send the payloads, then a line now and then, and the end when the connection is over."""
        stream = self._process.stdin
        if stream is None:
            raise RuntimeError("the client was started without a channel")
        try:
            for payload in self._payloads:
                with payload.open("rb") as source:
                    while not self._over.is_set() and (piece := source.read(_PIECE)):
                        stream.write(piece)
            while not self._over.is_set():
                stream.write(b"\n")
                stream.flush()
                self._over.wait(HEARTBEAT_SECONDS)
        except OSError:  # the other side is gone, which whoever reads notices
            pass
        finally:
            try:
                stream.close()
            except OSError:
                self._process.poll()


def _quoted_path(path: str) -> str:
    """Quote a path for the device's shell, which puts its home folder where ``~/`` begins the path."""
    inside = path.removeprefix("~/")
    return shlex.quote(path) if inside == path else f'"$HOME"/{shlex.quote(inside)}'

"""A real sshd on loopback that plays the device: own configuration, own keys, started and stopped here."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hrkd.recipe import BenchConfig
from hrkd_bench.device.ssh import Target

SSHD = shutil.which("sshd", path=os.defpath + ":/usr/sbin:/usr/local/sbin")
PRIVILEGES = Path("/run/sshd")
QUICK = BenchConfig(rounds=1, warmup_texts=2, cold_starts=1, min_samples=1, min_seconds=0, lengths=())


@dataclass(frozen=True)
class Server:
    """A running sshd, and what a client needs to reach it."""

    folder: Path
    config: Path
    known_hosts: Path

    def target(self, folder: Path, python: str = sys.executable) -> Target:
        """Return it as a device that works in ``folder``."""
        return Target("device", config=self.config, python=python, folder=str(folder))


@contextmanager
def running_server(folder: Path) -> Iterator[Server]:
    """Start one in an empty folder, and stop it."""
    assert SSHD is not None
    for name in ("host", "user"):
        make_key(folder / name)
    port = free_port()
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\n"
        f"PidFile {folder}/pid\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nPermitRootLogin yes\n"
    )
    known_hosts = folder / "known_hosts"
    known_hosts.write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    (folder / "ssh_config").write_text(
        f"Host device\n  HostName 127.0.0.1\n  Port {port}\n  User {getpass.getuser()}\n  IdentityFile {folder}/user\n"
        f"  IdentitiesOnly yes\n  UserKnownHostsFile {known_hosts}\n  GlobalKnownHostsFile {os.devnull}\n"
        "  StrictHostKeyChecking yes\n"
    )
    made = os.geteuid() == 0 and not PRIVILEGES.exists()
    if made:  # sshd insists on it when it runs as root
        PRIVILEGES.mkdir(mode=0o755)
    log = (folder / "log").open("wb")
    process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log)
    try:
        wait_for(port, process, folder / "log")
        yield Server(folder, folder / "ssh_config", known_hosts)
    finally:
        process.terminate()
        process.wait()
        log.close()
        if made:
            PRIVILEGES.rmdir()


def make_key(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(log.read_text())

"""`hrkd bench --host`: ask the device, copy the runner, measure there, bring the result back, leave nothing behind."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from hrkd.artifact import sha256_file
from hrkd.errors import BenchError
from hrkd_bench.bench import recognise
from hrkd_bench.device.facts import Facts, ask, check
from hrkd_bench.device.merge import Measured
from hrkd_bench.device.pack import pack
from hrkd_bench.device.plan import Plan
from hrkd_bench.device.result import DeviceResult, parse_result
from hrkd_bench.device.ssh import Connection, Target
from hrkd_bench.measurement.measure import Progress

if TYPE_CHECKING:
    from hrkd.recipe import BenchConfig

Note = Callable[[str], None]
"""Called with a line that a person should see."""


def measure_there(
    target: Target,
    bundles: Sequence[Path],
    baselines: Sequence[Path],
    config: BenchConfig,
    *,
    progress: Progress,
    note: Note,
    memory_limit: bool = False,
    wheels: Path | None = None,
) -> Measured:
    """Measure bundles on another machine with the protocol of this one.

    Args:
        target: The machine.
        bundles: Folders of bundles that onnxruntime runs.
        baselines: Likewise.
        config: How to measure.
        progress: Told about it.
        note: Told what the device is.
        memory_limit: Whether to search for the smallest memory limit of each bundle, too.
        wheels: Folder of wheels for the device; a virtual environment is made of them there, and removed with the rest.

    Returns:
        The result beside the bundles: its ``document()`` is that of `hrkd bench`.

    Raises:
        BenchError: The device cannot be reached or cannot measure, the connection was lost, or something else came back
            than was sent. Nothing has been written here, and the device is clean, or will be after the next run.
        ArtifactError: A bundle is damaged.
    """
    subjects = recognise(bundles, baselines)
    with TemporaryDirectory(prefix="hrkd-pack-") as name:
        runner = Path(name) / "runner.pyz"
        own, compared = subjects[len(baselines) :], subjects[: len(baselines)]
        plan = pack(runner, own, compared, config, memory_limit=memory_limit)
        archive = None if wheels is None else _pack_wheels(wheels, Path(name) / "wheels.tar")
        facts = ask(target)
        note(describe(facts, target.host))
        check(facts, target.host, runner.stat().st_size, brings_wheels=wheels is not None)
        result = _run(target, runner, archive, progress)
    check_plan(plan, result, target.host)
    return Measured(result, bundles, baselines)


def describe(facts: Facts, host: str) -> str:
    """Say in a line or two what a device is, and what was removed from it."""
    python = ".".join(map(str, facts.python))
    libraries = ", ".join(f"{name} {version or 'missing'}" for name, version in facts.versions.items())
    lines = [f"{host}: {facts.system} on {facts.machine}, Python {python}, {libraries}"]
    lines += [f"{host}: removed {folder}, which an earlier run had left" for folder in facts.removed]
    return "\n".join(lines)


def check_plan(plan: Plan, result: DeviceResult, host: str) -> None:
    """Refuse the result of anything but what was sent.

    Raises:
        BenchError: The plan, or the hash of a file that ran, is another one.
    """
    if result.plan != plan or result.files != plan.files:
        raise BenchError(
            f"{host} ran something else than was sent there", hint="measure again; if it stays, look at the device"
        )


def _run(target: Target, runner: Path, wheels: Path | None, progress: Progress) -> DeviceResult:
    wanted = {
        "folder": target.folder,
        "bytes": runner.stat().st_size,
        "sha256": sha256_file(runner),
        "wheels_bytes": 0 if wheels is None else wheels.stat().st_size,
        "wheels_sha256": "" if wheels is None else sha256_file(wheels),
    }
    payloads = [runner] if wheels is None else [runner, wheels]
    phase = "connecting"
    with Connection(target, target.program("receive", json.dumps(wanted)), payloads) as connection:
        for event in connection.events():
            match event.get("event"):
                case "progress":
                    phase = str(event.get("phase"))
                    progress(phase, _count(event, "done"), max(1, _count(event, "total")))
                case "error":
                    hint = event.get("hint")
                    raise BenchError(f"{target.host}: {event.get('message')}", hint=None if hint is None else str(hint))
                case "result":
                    content = connection.read(_count(event, "bytes"))
                    if hashlib.sha256(content).hexdigest() == event.get("sha256"):
                        return parse_result(content, f"the result of {target.host}")
                    phase = "the result was sent"
        raise connection.failure(phase)


def _count(event: Mapping[str, Any], key: str) -> int:
    value = event.get(key)
    if type(value) is not int or value < 0:
        raise BenchError(f"the device sent {value!r:.40} as its {key}", hint="is it the device that you mean?")
    return value


def _pack_wheels(folder: Path, target: Path) -> Path:
    wheels = sorted(folder.glob("*.whl")) if folder.is_dir() else []
    if not wheels:
        raise BenchError(
            f"`{folder}` holds no wheels",
            hint="`pip download --no-deps --only-binary=:all: --platform manylinux_2_28_aarch64 "
            "numpy onnxruntime tokenizers` fetches them for a 64-bit Raspberry Pi",
        )
    with tarfile.open(target, "w") as archive:
        for wheel in wheels:
            archive.add(wheel, wheel.name)
    return target

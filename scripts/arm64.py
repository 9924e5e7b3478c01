"""Run a bundle on arm64 without such a machine: its answers there against its answers here. Times are refused.

::

    python scripts/arm64.py runs/demo/bundles/int8 --output arm64_demo.json

Takes Debian's arm64 packages (python3 and what it needs) and the aarch64 wheels of the libraries that are installed
here, and runs a packed bundle on them under qemu-user, one processor model after the other. Needs debootstrap,
qemu-user-static and Linux 6.7 or later, or qemu registered with the kernel; no rights of root, and nothing of the
system is changed: mounts and the registration of qemu live in a namespace that ends with the run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from hrkd.artifact import write_json  # noqa: E402 - the project need not be installed
from hrkd.errors import BenchError, HrkdError  # noqa: E402
from hrkd.recipe import BenchConfig  # noqa: E402
from hrkd_bench.bench import recognise  # noqa: E402
from hrkd_bench.device.answers import compare_answers  # noqa: E402
from hrkd_bench.device.merge import Measured  # noqa: E402
from hrkd_bench.device.pack import pack  # noqa: E402
from hrkd_bench.device.result import read_result  # noqa: E402
from hrkd_bench.machine.facts import library_versions, read_machine  # noqa: E402

TOOLS = ("apt-get", "debootstrap", "dpkg-deb", "qemu-aarch64-static", "unshare")
LIBRARIES = ("numpy", "onnxruntime", "tokenizers")
SUITE, PYTHON = "bookworm", "3.11"
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_17_aarch64")
PROCESSORS = ("cortex-a72", "max")
"""A Raspberry Pi 4 without instructions for int8, and everything that qemu knows (dot product, i8mm, SVE)."""
ENTER = Path(__file__).with_name("arm64_enter.sh")


def missing_tools() -> list[str]:
    """Return the programs that are not installed."""
    return [tool for tool in TOOLS if shutil.which(tool, path=_path()) is None]


def make_root(folder: Path) -> Path:
    """Unpack Debian's arm64 packages into a folder; none of their scripts is run, Python does not need them."""
    packages, root = folder / "packages", folder / "root"
    enter = ["unshare", "--user", "--map-root-user", "--mount"]  # debootstrap insists on being root
    download = ["debootstrap", "--download-only", "--arch=arm64", "--variant=minbase", "--include=python3"]
    _call([*enter, *download, SUITE, str(packages), _mirror()])
    for name in ("bin", "lib", "sbin"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    for name in ("dev", "proc", "opt"):
        (root / name).mkdir()
    for package in sorted(packages.glob("var/cache/apt/archives/*.deb")):
        content = folder / "package.tar"
        with content.open("wb") as stream:
            _call(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=stream)
        options = ["--no-same-owner", "--keep-directory-symlink", "--exclude=./dev/*"]
        _call(["tar", "-x", "-f", str(content), "-C", str(root), *options])
    return root


def add_libraries(folder: Path, root: Path) -> None:
    """Put the aarch64 wheels of the installed versions beside the system's Python."""
    wheels = folder / "wheels"
    options = ["--quiet", "--no-deps", "--only-binary=:all:", "--python-version", PYTHON, "--dest", str(wheels)]
    platforms = [option for name in PLATFORMS for option in ("--platform", name)]
    wanted = [f"{name}=={metadata.version(name)}" for name in LIBRARIES]
    _call([sys.executable, "-m", "pip", "download", *options, *platforms, *wanted])
    for wheel in sorted(wheels.glob("*.whl")):
        _call([sys.executable, "-m", "zipfile", "-e", str(wheel), str(root / "opt" / "libraries")])


def answers_of(root: Path, processor: str, bundle: Path, texts: int | None) -> dict[str, Any]:
    """Let one emulated processor answer, and compare."""
    work = root / "opt" / "work"
    work.mkdir(exist_ok=True)
    pack(work / "runner.pyz", recognise([bundle], []), [], BenchConfig(max_texts=texts), overwrite=True)
    inside = ["/usr/bin/python3", "/opt/work/runner.pyz", "--emulated", "--overwrite", "--work", "/opt/work"]
    _call(["bash", str(ENTER), str(root), processor, *inside, "--output", "/opt/work/result.json"])
    measured = Measured(read_result(work / "result.json"), [bundle])
    [compared] = compare_answers(measured)
    return {
        "processor": processor,
        "emulated": True,
        "latency_ms": None,
        "environment": measured.environment.model_dump(mode="json"),
        **compared.model_dump(mode="json"),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the system, run the bundle on every processor, write the comparison."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--output", type=Path, required=True, help="JSON to write")
    parser.add_argument("--texts", type=int, help="answer only so many, of all domains alike; emulation is slow")
    parser.add_argument("--processor", action="append", help=f"as qemu names it; repeatable (default: {PROCESSORS})")
    given = parser.parse_args(arguments)
    try:
        absent = missing_tools()
        if absent:
            raise BenchError(
                f"{', '.join(absent)} not found", hint="apt-get install debootstrap qemu-user-static (Debian, Ubuntu)"
            )
        if given.output.exists():
            raise BenchError(f"`{given.output}` exists already", hint="choose another --output")
        with TemporaryDirectory(prefix="hrkd-arm64-") as name:
            root = make_root(Path(name))
            add_libraries(Path(name), root)
            runs = [answers_of(root, one, given.bundle, given.texts) for one in given.processor or PROCESSORS]
    except HrkdError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    here = read_machine()
    version = ["qemu-aarch64-static", "--version"]
    emulator = subprocess.run(version, capture_output=True, text=True, check=True).stdout
    write_json(
        given.output,
        {
            "schema_version": 1,
            "what": "answers of a bundle on emulated arm64 against this machine's; no times, emulation has none",
            "emulator": emulator.partition("\n")[0],
            "here": {key: here[key] for key in ("cpu", "architecture", "cpu_features", "timestamp")},
            "versions_here": library_versions(),
            "runs": runs,
        },
    )
    for run in runs:
        print(
            f"{run['processor']}: {run['texts']} texts, agreement {100 * run['agreement']:.2f} %, "
            f"largest logit difference {run['largest_logit_difference']:.2g}"
        )
    return 0


def _mirror() -> str:
    """Return where this machine's own packages come from."""
    targets = ["apt-get", "indextargets", "--format", "$(SITE) $(CODENAME)", "Created-By: Packages"]
    listed = subprocess.run(targets, capture_output=True, text=True, check=True).stdout.splitlines()
    sites = [line.split()[0] for line in listed if line.split()[1:] == [SUITE]]
    if not sites:
        raise BenchError(f"apt knows no source of Debian {SUITE}", hint="run this on such a system, or in a container")
    return sites[0]


def _call(command: Sequence[str], **options: Any) -> None:
    """Run a program; its own messages say what went wrong."""
    code = subprocess.run(
        command, env={**os.environ, "PATH": _path()}, check=False, stdin=subprocess.DEVNULL, **options
    ).returncode
    if code:
        raise BenchError(f"`{' '.join(command[:4])} ...` ended with exit code {code}", hint="its messages stand above")


def _path() -> str:
    return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


if __name__ == "__main__":
    sys.exit(main())

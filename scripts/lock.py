"""Make the hash-pinned requirements/*.txt from requirements/*.in and pyproject.toml; `make lock` calls it.

One resolution for all supported Pythons is split, because the registry's torch for Linux drags 3 GB of CUDA packages
behind it, which a machine that offers a CPU build of torch neither needs nor should download:

    torch-cpu.txt   the CPU builds below; not in the registry, but a machine's own package folder may offer one
    torch.txt       torch as the registry has it
    torch-cuda.txt  what only the registry's torch for Linux needs
    dev.txt         everything else

transformers5.txt holds only what differs from dev.txt.

The CPU build needs its own file: told several hashes, pip takes a registry's file over a local one.

The files hold no addresses: where packages come from is the machine's own setting.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements"
EXTRAS = ("edge", "export", "openvino", "report", "trackers", "train")
TORCH_CPU = "torch==2.13.0+cpu"
TORCH_CPU_BUILDS = {
    "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl": (
        "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b"
    ),
}
CUDA_ONLY = re.compile(r"(nvidia-|cuda-|triton\b)")
HEADER = "# Made by `make lock` from {source}; do not edit.\n"


def main() -> None:
    """Resolve, split, write."""
    blocks = compile_lock("requirements/dev.in", "pyproject.toml", extras=EXTRAS)
    torch = [block for block in blocks if block.startswith("torch==")]
    torch_cpu = "\n".join([TORCH_CPU, *(f"    --hash=sha256:{sha256}" for sha256 in TORCH_CPU_BUILDS.values())])
    cuda = [block for block in blocks if CUDA_ONLY.match(block)]
    rest = [block for block in blocks if not block.startswith("torch==") and not CUDA_ONLY.match(block)]
    write("torch-cpu.txt", "scripts/lock.py", [torch_cpu])
    write("torch.txt", "dev.in", torch)
    write("torch-cuda.txt", "dev.in", cuda)
    write("dev.txt", "dev.in and pyproject.toml", rest)
    write(
        "edge.txt",
        "edge.in and pyproject.toml",
        compile_lock("requirements/edge.in", "pyproject.toml", extras=("edge",), constraint="requirements/dev.txt"),
    )
    transformers5 = compile_lock("requirements/transformers5.in")
    known = {block.split()[0] for block in blocks}
    different = [block for block in transformers5 if block.split()[0] not in known]
    write("transformers5.txt", "transformers5.in", different)
    write("demo-weights.txt", "demo-weights.in", compile_lock("requirements/demo-weights.in", dependencies=False))


def compile_lock(
    *sources: str, extras: tuple[str, ...] = (), constraint: str | None = None, dependencies: bool = True
) -> list[str]:
    """Return one block of text per package: the pinned line and its hash lines, each ending in a line break."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"]
    command += ["--generate-hashes", "--no-emit-index-url", "--no-annotate", "--no-header", *sources]
    command += [f"--extra={extra}" for extra in extras]
    if constraint:
        command += ["--constraint", constraint]
    if not dependencies:
        command.append("--no-deps")
    result = subprocess.run(command, cwd=REQUIREMENTS.parent, check=True, stdout=subprocess.PIPE, text=True)
    return re.findall(r"^\S.*(?:\n    --hash=.*)+\n", result.stdout, flags=re.MULTILINE)


def write(name: str, source: str, blocks: list[str]) -> None:
    """Write one requirements file; every line but a block's last ends in a continuation."""
    text = HEADER.format(source=source)
    for block in blocks:
        lines = [line.removesuffix("\\").rstrip() for line in block.splitlines()]
        text += " \\\n".join(lines) + "\n"
    (REQUIREMENTS / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

"""A bundle on arm64, emulated: the same answers as here. Minutes of work, and Debian's archive is needed."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "scripts" / "arm64.py"


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("arm64", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_missing_tools_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Prevents minutes of downloads before it turns out that nothing can run them."""
    script = load_script()
    monkeypatch.setattr(script, "TOOLS", ("no-such-tool",))
    assert script.missing_tools() == ["no-such-tool"]
    assert script.main(["bundle", "--output", str(tmp_path / "out.json")]) == 2
    assert not (tmp_path / "out.json").exists()


@pytest.mark.slow
def test_a_bundle_answers_alike_on_arm64(bundle: Path, tmp_path: Path) -> None:
    """Prevents a bundle that is only right on the machine that made it."""
    missing = load_script().missing_tools()
    if missing:
        pytest.skip(f"needs {', '.join(missing)} (apt-get install debootstrap qemu-user-static)")
    output = tmp_path / "arm64.json"
    command = [sys.executable, str(SCRIPT), str(bundle), "--output", str(output), "--processor", "cortex-a72"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "debootstrap" in done.stderr and "exit code" in done.stderr:
        pytest.skip(f"Debian's packages cannot be had here: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    [run] = json.loads(output.read_text(encoding="utf-8"))["runs"]
    assert run["environment"]["architecture"] == "aarch64"
    assert run["emulated"] is True
    assert run["latency_ms"] is None
    assert run["texts"] == 24
    assert run["agreement"] == 1.0
    assert run["largest_logit_difference"] < 1e-4

"""Where `hrkd bench` measures, and which options belong together."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hrkd.recipe import BenchConfig
from hrkd_bench.limits.confinement import Limits
from hrkd_cli import places
from tiny_bundle import make_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("places") / "bundle"
    make_bundle(folder)
    return folder


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--target", "moon"], "there is no place `moon`"),
        (["--profile", "nope"], "profile `nope` is unknown"),
        (["--profile", "1-core", "--host", "pi@device"], "--profile and --host name two places"),
        (["--target", "browser", "--host", "pi@device"], "--target browser and --host name two places"),
        (["--assets", "folder"], "belong to --target browser"),
        (["--port", "22"], "belong to --host"),
        (["--target", "browser", "--memory-limit"], "which a browser is not"),
        (["--target", "browser", "--rate", "5"], "a browser measures one bundle at a time"),
        (["--budget", "p95=5"], "needs one of the units"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_options_that_contradict_each_other_are_refused(options, message, bundle, hrkd) -> None:
    """Prevents an option from being ignored in silence, and minutes of measuring before a typing error is told."""
    result = hrkd("bench", bundle, *options)
    assert result.code == 2
    assert message in result.err


def test_the_search_for_a_memory_limit_is_told_the_profile(monkeypatch) -> None:
    """Prevents a limit found on all cores from standing in a document whose profile grants one."""
    seen: list[Any] = []
    document = {"results": [{"threads": 3}], "profile": {"cpus": [0], "quota": None}}
    monkeypatch.setattr(places, "smallest_limits", lambda *given: seen.extend(given))
    monkeypatch.setattr(places, "add_memory_limits", lambda document, limits: document)
    place = places.with_memory_limits(lambda *arguments: document)
    assert place([Path("bundle")], [], BenchConfig(), None) == document
    assert seen == [[Path("bundle")], 3, Limits(cpus=(0,))]


def test_a_bundle_may_be_called_like_a_command(bundle, tmp_path, monkeypatch, hrkd) -> None:
    """Prevents `hrkd bench` from taking a folder's name for one of its commands without a way around it."""
    (tmp_path / "compare").symlink_to(bundle)
    monkeypatch.chdir(tmp_path)
    assert "Missing argument" in hrkd("bench", "compare").err
    assert "profile `nope` is unknown" in hrkd("bench", "./compare", "--profile", "nope").err


def test_a_packed_measurement_comes_back(bundle, tmp_path, hrkd) -> None:
    """Prevents a file that runs on the device but whose result nothing here can read."""
    packed, result, document = (tmp_path / name for name in ("runner.pyz", "result.json", "device.json"))
    made = hrkd("bench", "pack", bundle, "--output", packed, "--max-texts", "6", "--json")
    assert made.code == 0, made.err
    assert made.document["size_bytes"] == packed.stat().st_size
    done = subprocess.run(
        [sys.executable, str(packed), "--output", str(result)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    merged = hrkd("bench", "merge", result, bundle, "--device", "the box", "--output", document, "--json")
    assert merged.code == 0, merged.err
    assert json.loads(document.read_text(encoding="utf-8")) == merged.document
    assert merged.document["texts"]["count"] == 6
    missed = hrkd("bench", "merge", result, bundle, "--budget", "size=1kB", "--json")
    assert missed.code == 3
    beside = ("bench", "merge", result, bundle, "--beside", document, "--budget", "size=1MB", "--json")
    assert "holds results of `the box` already" in hrkd(*beside, "--device", "the box").err
    host = merged.document
    for row in host["results"]:
        row |= {"device": None, "size_bytes": 10**9}
    document.write_text(json.dumps(host), encoding="utf-8")
    for name, options in (("device", ()), ("the box", ("--device", "the box"))):
        judged = hrkd(*beside, *options)
        assert judged.code == 0, judged.err  # the host's bundle is too large, but the limits are the device's
        assert {finding["subject"] for finding in judged.document["findings"]} == {f"tiny @ {name}"}

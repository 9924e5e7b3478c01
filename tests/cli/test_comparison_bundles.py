"""The unquantised bundles that hrkd makes by itself to compare with, and the user's own ones beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hrkd.bundle import open_bundle
from hrkd.errors import BenchError
from hrkd_cli.bundles import exact_bundle
from hrkd_cli.main import main
from hrkd_cli.output import Output
from hrkd_cli.recipes import recipe_beside
from tiny_recipe import write_recipe

MEASURED = "hrkd_cli.places.here"


@pytest.fixture(scope="module")
def teacher(tiny_data: Path, tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained teacher in its run folder."""
    folder = tmp_path_factory.mktemp("comparison")
    recipe = write_recipe(folder / "tiny.yaml", tiny_data, tiny_encoder)
    assert main(["teacher", str(recipe), "--runs-dir", str(folder / "runs"), "--quiet"]) == 0
    return folder / "runs" / "tiny" / "teacher"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What would have been measured."""
    given: dict[str, Any] = {}

    def measure(bundles: list[Path], baselines: list[Path], *_: object) -> None:
        given.update(bundles=bundles, baselines=baselines)
        raise BenchError("measured")

    monkeypatch.setattr(MEASURED, measure)
    return given


def test_a_bundle_of_the_users_is_measured_and_not_replaced(teacher: Path, asked: dict[str, Any], hrkd) -> None:
    """Prevents `hrkd bench` from destroying the very bundle that it was asked to measure, and then refusing it."""
    own = teacher.parent / "bundles" / "teacher-fp32"
    assert hrkd("export", teacher, "--max-rows", "40").code == 0
    before = open_bundle(own).bundle_hash
    result = hrkd("bench", own, "--baseline", teacher)
    assert result.err.endswith("error: measured\n")
    comparison = teacher.parent / "bundles" / "comparison" / "teacher-fp32"
    assert asked == {"bundles": [own], "baselines": [teacher, comparison]}
    assert open_bundle(own).bundle_hash == before != open_bundle(comparison).bundle_hash
    assert "bundles/comparison/teacher-fp32: kept" in hrkd("bench", own, "--baseline", teacher).err


def test_a_stale_comparison_is_made_again(teacher: Path) -> None:
    """Prevents a student from being compared with the bundle of another model of its name."""
    recipe = recipe_beside(teacher)
    first = exact_bundle(teacher, Output(quiet=True), recipe=recipe)
    manifest = json.loads((first / "manifest.json").read_text(encoding="utf-8"))
    manifest["parents"]["inputs"] = "another"
    (first / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert exact_bundle(teacher, Output(quiet=True), recipe=recipe) == first
    assert open_bundle(first).parents["inputs"] != "another"


def test_the_same_export_serves_and_is_not_given_twice(teacher: Path, asked: dict[str, Any], hrkd) -> None:
    """Prevents two bundles of the same bytes, and `is given twice` about a path that the user gave once."""
    own = teacher.parent / "bundles" / "teacher-fp32"
    assert hrkd("export", teacher, "--overwrite").code == 0
    assert exact_bundle(teacher, Output(quiet=True), recipe=recipe_beside(teacher)) == own
    assert hrkd("bench", own, "--baseline", teacher).err.endswith("error: measured\n")
    assert asked == {"bundles": [own], "baselines": [teacher]}

"""`hrkd export --quantize auto`: candidates made, measured, one of them shipped, and the reasons told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hrkd.bundle import open_bundle
from hrkd_cli.main import main
from tiny_recipe import write_recipe

TARGETS = "tiny: {what: for tests, like: avx2, quantizations: [int8, int4-weights, fp16]}\n"


@pytest.fixture(scope="module")
def student(tiny_data: Path, tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained student in its run folder."""
    folder = tmp_path_factory.mktemp("auto")
    recipe = write_recipe(folder / "tiny.yaml", tiny_data, tiny_encoder)
    runs = folder / "runs"
    for command in ("teacher", "distill"):
        assert main([command, str(recipe), "--runs-dir", str(runs), "--quiet"]) == 0
    return runs / "tiny" / "student"


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("targets") / "targets.yaml"
    path.write_text(TARGETS, encoding="utf-8")
    return path


def export(student: Path, targets: Path, *options: str) -> int:
    return main(["export", str(student), "--quantize", "auto", "--target", "tiny", "--targets", str(targets), *options])


@pytest.fixture(scope="module")
def document(student: Path, targets: Path, undisturbed: None) -> dict:
    """The table that stands beside the winner."""
    assert export(student, targets, "--trim-vocab", "--max-drop-per-domain", "100", "--quiet") == 0
    return json.loads((student.parent / "bundles" / "auto.candidates.json").read_text(encoding="utf-8"))


def test_every_candidate_is_judged_and_one_is_shipped(student: Path, document: dict) -> None:
    """A winner without a comparison is a default with more steps."""
    rows = {row["name"]: row for row in document["candidates"]}
    assert list(rows) == ["fp32", "int8", "int4-weights", "fp16"]
    assert sum(row["won"] for row in rows.values()) == 1
    winner = next(row for row in rows.values() if row["won"])
    manifest = open_bundle(student.parent / "bundles" / "auto")
    assert (manifest.quantization or "fp32") == winner["name"]
    assert manifest.size_bytes == winner["size_bytes"]
    for row in rows.values():
        assert row["reason"]
        assert row["latency_ms"] > 0.0
        assert set(row["domains"]) == set(row["validation"])
    assert not list((student.parent / "bundles").glob(".*"))


def test_unchanged_inputs_are_kept(student: Path, targets: Path, document: dict, capsys) -> None:
    """Minutes of measuring for the same answer would make people stop asking."""
    assert export(student, targets, "--trim-vocab", "--max-drop-per-domain", "100", "--json") == 0
    out, err = capsys.readouterr()
    assert "kept, its inputs are unchanged" in err
    assert json.loads(out)["candidates"] == document["candidates"]


def test_other_options_do_not_replace_the_bundle(student: Path, targets: Path, document: dict, capsys) -> None:
    """Nothing that the user made is overwritten without being told to; said before the work."""
    assert export(student, targets, "--max-vocab", "60") == 2
    assert "exists already" in capsys.readouterr().err


def test_a_bundle_says_what_was_done_to_its_vocabulary(student: Path, document: dict) -> None:
    """Trimming that is not recorded cannot be told from another model."""
    manifest = open_bundle(student.parent / "bundles" / "auto")
    assert manifest.vocabulary is not None
    assert manifest.vocabulary.pieces <= manifest.vocabulary.pieces_before
    assert manifest.guard is None or manifest.guard.limit_points == 100.0


def test_a_run_can_choose_too(student: Path, targets: Path, capsys) -> None:
    """`auto` in a recipe that only `hrkd export` understood would fail after the training."""
    folder = student.parents[2]
    settings = {"quantize": "auto", "target": "tiny", "targets": str(targets), "max_drop_per_domain": 100.0}
    options = [part for key, value in settings.items() for part in ("--set", f"export.{key}={value}")]
    assert main(["run", str(folder / "tiny.yaml"), "--runs-dir", str(folder / "runs"), *options, "--quiet"]) == 0
    document = json.loads((student.parent / "bench.json").read_text(encoding="utf-8"))
    assert [row["role"] for row in document["results"]] == ["teacher"] * 2 + ["student"] * 3


def test_what_needs_texts_says_so_without_a_recipe(student: Path, tmp_path: Path, capsys) -> None:
    """A model folder that was copied elsewhere has no recipe beside it."""
    moved = tmp_path / "moved"
    moved.symlink_to(student)
    assert main(["export", str(moved), "--quantize", "int8", "--trim-vocab", "--output", str(tmp_path / "out")]) == 2
    assert "--recipe" in capsys.readouterr().err

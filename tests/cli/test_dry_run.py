"""`--dry-run`: what a training will take, with nothing left behind."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from hrkd_cli import dry_run

DAYS = ("--set", "training.epochs=2000", "--set", "teacher.training.epochs=2000")


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def short(tiny_recipe: Path) -> Path:
    value = yaml.safe_load(tiny_recipe.read_text(encoding="utf-8"))
    value["training"] |= {"epochs": 20.0, "batch_size": 4}
    value["teacher"]["training"] |= {"epochs": 20.0, "batch_size": 4}
    tiny_recipe.write_text(yaml.safe_dump(value), encoding="utf-8")
    return tiny_recipe


def test_run_is_estimated_stage_by_stage_and_nothing_is_left(hrkd: Any, short: Path) -> None:
    """Prevents a dry run that makes the run folder, so that the real run meets the remains of it."""
    before = files_of(short.parent)
    result = hrkd("run", short, "--runs-dir", short.parent, "--dry-run", "--json", *DAYS)
    assert result.code == 0, result.err
    document = cast("dict[str, Any]", result.document)
    assert [stage["stage"] for stage in document["stages"]] == ["teacher", "student"]
    for stage in document["stages"]:
        low, middle, high = stage["seconds"]
        assert 0 < low <= middle <= high
        assert middle > stage["steps"] * stage["step_seconds"] > 0.5 * middle
        assert stage["checkpoint_bytes"] > 3 * 3 * stage["model_bytes"]  # weights, two moments, the best; three of them
    assert document["seconds"][1] == pytest.approx(sum(stage["seconds"][1] for stage in document["stages"]))
    assert {need["what"]: need["fits"] for need in document["needs"]} == {"memory": True, "disk": True}
    assert files_of(short.parent) == before


def test_steps_and_texts_are_those_of_the_training(hrkd: Any, short: Path) -> None:
    """Prevents an estimate of another training: other steps, or a stage that is already done."""
    found = cast("dict[str, Any]", hrkd("teacher", short, "--runs-dir", short.parent, "--dry-run", "--json").document)
    (stage,) = found["stages"]
    real = hrkd("teacher", short, "--runs-dir", short.parent)
    assert f"teacher: training for {stage['steps']} steps" in real.err
    assert stage["texts_per_step"] == 12
    again = hrkd("teacher", short, "--runs-dir", short.parent, "--dry-run")
    assert (again.code, again.out) == (0, "nothing is left to train\n")
    student = hrkd("distill", short, "--runs-dir", short.parent, "--dry-run")
    assert re.search(r"student +\d+ +12 ", student.out), student.out
    assert "all together" in student.out
    assert not (short.parent / "tiny" / "student").exists()


def test_a_cache_of_the_teacher_is_weighed_and_not_made(hrkd: Any, short: Path) -> None:
    """Prevents gigabytes on disk from a dry run, and a student that seems to wait for a teacher it does not ask."""
    assert hrkd("teacher", short, "--runs-dir", short.parent, "--set", "teacher.training.epochs=0.2").code == 0
    arguments = ("--runs-dir", short.parent, "--set", "teacher.training.epochs=0.2", "--dry-run", "--json")
    stages = {}
    for cached in ("true", "false"):
        result = hrkd("distill", short, *arguments, "--set", f"training.cache_teacher={cached}")
        stages[cached] = cast("dict[str, Any]", result.document)["stages"][0]
    assert stages["true"]["cache_bytes"] > 0 == stages["false"]["cache_bytes"]
    assert stages["true"]["step_seconds"] < stages["false"]["step_seconds"]
    assert not (short.parent / "tiny" / ".teacher_outputs").exists()


def test_what_does_not_fit_is_an_error(hrkd: Any, short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents a script from starting a training that will die of a full disk."""
    monkeypatch.setattr(dry_run.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 100_000})())
    result = hrkd("teacher", short, "--runs-dir", short.parent, "--dry-run")
    assert result.code == 2
    assert "all together" in result.out
    assert "error: too little disk: " in result.err


def test_what_the_command_would_refuse_is_refused(hrkd: Any, short: Path) -> None:
    """Prevents a dry run that says "ten minutes" of a recipe that cannot be run."""
    unfit = hrkd("run", short, "--runs-dir", short.parent, "--dry-run", "--set", "student.teacher_layers=[2,9]")
    assert unfit.code == 2
    assert "layer" in unfit.err
    alone = hrkd("distill", short, "--runs-dir", short.parent, "--dry-run")
    assert alone.code == 2
    assert "teacher" in alone.err

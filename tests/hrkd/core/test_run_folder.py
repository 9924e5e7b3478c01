"""The run folder: one process at a time, and no litter of a killed one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import filelock
import pytest
import yaml

from hrkd.errors import ArtifactError
from hrkd.recipe import Recipe
from hrkd.recipe_file import load_recipe, parse_recipe
from hrkd.run_folder import TEACHER_OUTPUTS, RunFolder

HOLD = """
import sys
from pathlib import Path
from hrkd.run_folder import RunFolder
with RunFolder(Path(sys.argv[1])).locked():
    sys.stdout.write("locked\\n")
    sys.stdout.flush()
    sys.stdin.read()
"""
REPLACE_AND_DIE = """
import os, signal, sys
from pathlib import Path
from hrkd.artifact import new_folder
rename = Path.rename
def rename_and_die(path, to):
    rename(path, to)
    os.kill(os.getpid(), signal.SIGKILL)
Path.rename = rename_and_die
with new_folder(Path(sys.argv[1]), replace=True) as folder:
    (folder / "file").write_text("new")
"""


@pytest.fixture
def recipe() -> Recipe:
    return parse_recipe(
        {"name": "test", "data": {"source": "vader"}, "teacher": {"base": "bert"}, "student": {"layers": 2}}
    )


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "runs" / "test")


@pytest.fixture
def holder(run: RunFolder) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the run until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


def test_create_writes_the_resolved_recipe(tmp_path: Path, recipe: Recipe) -> None:
    """A run without its defaults cannot be repeated after they change."""
    run = RunFolder.create(tmp_path / "runs", recipe)
    assert run.root == tmp_path / "runs" / "test"
    assert load_recipe(run.recipe) == recipe
    assert yaml.safe_load(run.recipe.read_text(encoding="utf-8"))["training"]["epochs"] == recipe.training.epochs


def test_create_again_keeps_what_was_made(tmp_path: Path, recipe: Recipe) -> None:
    """The second command of a run must find the results of the first."""
    run = RunFolder.create(tmp_path, recipe)
    run.teacher.mkdir()
    (run.teacher / "weights").write_text("precious")
    changed = recipe.model_copy(update={"seed": 3})
    assert RunFolder.create(tmp_path, changed) == run
    assert load_recipe(run.recipe) == changed
    assert (run.teacher / "weights").read_text() == "precious"


def test_every_path_is_inside_and_its_own(run: RunFolder) -> None:
    """Two results under one name would replace each other."""
    paths = [run.recipe, run.teacher, run.student, run.bundles, run.bench, run.report, run.events]
    paths += [run.training_state("teacher"), run.training_state("student")]
    assert len(set(paths)) == len(paths)
    assert {path.parent for path in paths} == {run.root}


def test_another_process_is_refused_and_named_the_way_out(run: RunFolder, holder: subprocess.Popen[str]) -> None:
    """Two writers would mix their checkpoints, and the second would clear the first one's unfinished files."""
    unfinished = run.root / ".student.0123.tmp"
    unfinished.mkdir()
    with pytest.raises(ArtifactError, match="another process works in") as caught, run.locked():
        pass
    assert "another `name`" in str(caught.value)
    assert unfinished.is_dir()
    holder.communicate("")
    with run.locked():
        assert not unfinished.exists()


def test_a_killed_process_leaves_no_lock(run: RunFolder, holder: subprocess.Popen[str]) -> None:
    """A stale lock file would shut the user out of their run for ever."""
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with run.locked():
        pass


def test_an_error_inside_releases_the_lock(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next stage in the same process must not find the run taken."""
    made: list[filelock.BaseFileLock] = []

    def make_lock(path: Path, original: type[filelock.BaseFileLock] = filelock.FileLock) -> filelock.BaseFileLock:
        made.append(original(path))  # alive until the end, so that only a release frees it
        return made[-1]

    monkeypatch.setattr(filelock, "FileLock", make_lock)
    with pytest.raises(RuntimeError), run.locked():
        raise RuntimeError
    with run.locked():
        assert len(made) == 2


def test_only_leftovers_are_cleared(run: RunFolder) -> None:
    """Clearing too little fills the disk; clearing the training state loses the interrupted hours."""
    state = run.training_state("student")
    for folder in (run.teacher, state, run.root / ".teacher.ab12.tmp" / "deep", run.root / "mine.tmp"):
        folder.mkdir(parents=True)
        (folder / "file").write_text("content")
    (run.root / ".bench.json.cd34.tmp").write_text("part")
    with run.locked():
        found = {path.name for path in run.root.iterdir()}
    assert found == {"teacher", state.name, "mine.tmp", ".lock"}
    assert (state / "file").read_text() == "content"


def test_a_folder_that_a_kill_caught_between_two_names_comes_back(run: RunFolder) -> None:
    """Old and new model are both hidden then; cleared as litter, the hours of both would be gone."""
    run.student.mkdir(parents=True)
    (run.student / "file").write_text("old")
    killed = subprocess.run([sys.executable, "-c", REPLACE_AND_DIE, str(run.student)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not run.student.exists()
    with run.locked():
        assert {path.name for path in run.root.iterdir()} == {"student", ".lock"}
    assert (run.student / "file").read_text() == "old"


def test_a_retired_folder_goes_once_the_new_one_stands(run: RunFolder) -> None:
    """The old model in place of the new one would be measured and shipped under its name."""
    for name, content in (("student", "new"), (".student.0123abcd.retired.tmp", "old")):
        (run.root / name).mkdir(parents=True)
        (run.root / name / "file").write_text(content)
    with run.locked():
        assert {path.name for path in run.root.iterdir()} == {"student", ".lock"}
    assert (run.student / "file").read_text() == "new"


def test_what_other_runs_write_beside_the_teacher_is_not_cleared(run: RunFolder) -> None:
    """Students of other runs fill this cache for hours without this run's lock; their work would vanish."""
    filled = run.root / TEACHER_OUTPUTS / ".0a1b.0123abcd.tmp"
    filled.mkdir(parents=True)
    (filled / "hidden-0.npy").write_text("half of the answers")
    with run.locked():
        assert (filled / "hidden-0.npy").is_file()

"""The training stages end to end on a tiny model: learning, skipping, refusing, interrupting, resuming."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hrkd.artifact import StageRecord, read_stage, verify_files
from hrkd.bundle import parse_eval
from hrkd.data.load import load_dataset
from hrkd.errors import ArtifactError, CheckpointError, Interrupted
from hrkd.evaluation import evaluate
from hrkd.metrics import DomainScores
from hrkd.recipe import Recipe
from hrkd.run_folder import RunFolder
from hrkd.training import Observer, StepReport, distill, train_teacher
from tiny import make_rows, write_jsonl

MakeRecipe = Callable[..., Recipe]


class Recorder(Observer):
    """Keeps what it is told; can raise a signal after a step."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.stop_after = stop_after
        self.reports: list[StepReport] = []
        self.first_step = -1
        self.scores: list[DomainScores] = []
        self.skipped: bool | None = None

    def started(self, stage: str, first_step: int, total_steps: int) -> None:
        self.first_step = first_step

    def step(self, report: StepReport) -> None:
        self.reports.append(report)
        if report.step == self.stop_after:
            os.kill(os.getpid(), signal.SIGINT)

    def evaluated(self, step: int, scores: DomainScores, is_best: bool) -> None:
        self.scores.append(scores)

    def finished(self, record: StageRecord, skipped: bool) -> None:
        self.skipped = skipped


@pytest.fixture(scope="module")
def teacher_run(tmp_path_factory: pytest.TempPathFactory, make_recipe: MakeRecipe) -> RunFolder:
    """One trained teacher for all tests of this file."""
    recipe = make_recipe()
    run = RunFolder.create(tmp_path_factory.mktemp("runs"), recipe)
    train_teacher(recipe, run)
    return run


@pytest.fixture
def trained(teacher_run: RunFolder, make_recipe: MakeRecipe, tmp_path: Path) -> tuple[Recipe, RunFolder]:
    """A recipe for a short distillation, and a run folder of its own with a copy of the teacher."""
    recipe = make_recipe(training={"epochs": 1})
    run = RunFolder.create(tmp_path, recipe)
    shutil.copytree(teacher_run.teacher, run.teacher)
    return recipe, run


def test_teacher_and_student_learn(trained: tuple[Recipe, RunFolder], make_recipe: MakeRecipe) -> None:
    """A loop that steps the wrong parameters, or validates another model, ends near 50 % without an error."""
    _, run = trained
    recipe = make_recipe()
    recorder = Recorder()
    record = distill(recipe, run, observer=recorder)
    teacher = read_stage(run.teacher)
    assert teacher is not None
    assert min(teacher.details["test"].values()) > 0.8
    assert sum(record.details["test"].values()) / 3 > 0.8
    assert recorder.reports[-1].terms["loss"] < recorder.reports[0].terms["loss"]
    assert set(recorder.reports[0].terms) == {"loss", "hidden", "prediction"}
    assert recorder.reports[0].domain_ratios["level_0"] == pytest.approx([1 / 3] * 3)
    verify_files(run.student, record.files)
    assert list(run.events.rglob("events.out.*"))
    evaluation = evaluate(run.student)
    assert evaluation.accuracy.domains == pytest.approx(record.details["test"])


def test_a_finished_stage_is_skipped_and_never_replaced_unasked(
    trained: tuple[Recipe, RunFolder], make_recipe: MakeRecipe
) -> None:
    """An hour of training must neither be repeated nor lost because a recipe was edited."""
    recipe, run = trained
    recorder = Recorder()
    before = read_stage(run.teacher)
    assert train_teacher(recipe, run, observer=recorder) == before
    assert recorder.skipped is True
    assert not recorder.reports
    changed = make_recipe(teacher={"training": {"epochs": 0.1, "batch_size": 4}})
    with pytest.raises(ArtifactError, match="other inputs"):
        train_teacher(changed, run)
    assert read_stage(run.teacher) == before
    assert train_teacher(changed, run, overwrite=True) != before


META = {"graph": {"variant": "meta", "update_every": 2}}


@pytest.mark.parametrize(("stop_after", "method"), [(2, {}), (3, META), (11, META)])
def test_an_interrupted_run_ends_like_an_undisturbed_one(
    trained: tuple[Recipe, RunFolder],
    make_recipe: MakeRecipe,
    tmp_path: Path,
    stop_after: int,
    method: dict[str, object],
) -> None:
    """Lost optimizer moments, dropout or graph state or data position change the result a little, unseen."""
    _, run = trained
    recipe = make_recipe(training={"epochs": 1}, method=method)
    undisturbed = RunFolder(tmp_path / "undisturbed")
    whole = Recorder()
    distill(recipe, undisturbed, teacher=run.teacher, observer=whole)
    with pytest.raises(Interrupted, match=f"after step {stop_after} "):
        distill(recipe, run, observer=Recorder(stop_after))
    recorder = Recorder()
    distill(recipe, run, observer=recorder)
    assert recorder.first_step == stop_after
    # The best weights may be older than the interruption; the losses after it show that everything else came back.
    assert [report.terms for report in recorder.reports] == [report.terms for report in whole.reports[stop_after:]]
    expected, actual = (load_file(folder.student / "model.safetensors") for folder in (undisturbed, run))
    assert expected.keys() == actual.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensor, actual[name]), name
    assert not run.training_state("student").exists()


BASELINES = {
    "fine_tune": {"method": {"preset": "fine_tune"}},
    "logits": {"method": {"preset": "logits"}},
    "released": {"method": {"preset": "released"}},
    "per_domain": {"student": {"per_domain": True}},
    "meta_kd": {"student": {"per_domain": True}, "method": {"example_weights": "meta_kd"}},
    "two_stages": {"method": {"phases": [{"until": 0.5, "prediction_weight": 0}, {"until": 1, "hidden_weight": 0}]}},
}


@pytest.mark.parametrize("sections", BASELINES.values(), ids=BASELINES)
def test_every_baseline_learns_through_the_same_stage(
    trained: tuple[Recipe, RunFolder], make_recipe: MakeRecipe, sections: dict[str, dict[str, object]]
) -> None:
    """A baseline that is wired wrong loses, and the method it is compared with looks good."""
    _, run = trained
    record = distill(make_recipe(**sections), run)
    assert sum(record.details["test"].values()) / 3 > 0.75
    verify_files(run.student, record.files)
    assert evaluate(run.student).accuracy.domains == pytest.approx(record.details["test"])


def test_unlabelled_texts_teach_the_student_and_not_the_teacher(
    trained: tuple[Recipe, RunFolder], make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    """A label of -1 in a cross-entropy is an index error at best; steps must grow with the texts."""
    _, run = trained
    rows = [{"text": row["text"], "domain": row["domain"]} for row in make_rows(60, seed=99)]
    path = write_jsonl(tmp_path / "unlabelled.jsonl", rows)
    recipe = make_recipe(data={"unlabelled_texts": str(path)}, method={"label_weight": 1.0}, training={"epochs": 1})
    plain = make_recipe(method={"label_weight": 1.0}, training={"epochs": 1})
    more, fewer = Recorder(), Recorder()
    distill(recipe, run, observer=more)
    distill(plain, RunFolder(tmp_path / "plain"), teacher=run.teacher, observer=fewer)
    assert len(more.reports) > 1.5 * len(fewer.reports)
    before = read_stage(run.teacher)
    assert before is not None
    again = train_teacher(make_recipe(data={"unlabelled_texts": str(path)}), run, overwrite=True)
    assert again.files == before.files


def test_no_resume_starts_over(trained: tuple[Recipe, RunFolder]) -> None:
    """A user who asks for a fresh start must not get the old state."""
    recipe, run = trained
    with pytest.raises(Interrupted):
        distill(recipe, run, observer=Recorder(4))
    recorder = Recorder()
    distill(recipe, run, observer=recorder, resume=False)
    assert recorder.first_step == 0


def test_a_missing_or_foreign_teacher_is_an_error_before_anything_starts(
    trained: tuple[Recipe, RunFolder], make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    """The released code only logs a missing teacher and goes on with random weights."""
    recipe, run = trained
    with pytest.raises(CheckpointError, match="does not exist"):
        distill(recipe, RunFolder(tmp_path / "empty"))
    fewer = make_recipe(data={"domains": ["books", "films"]})
    with pytest.raises(CheckpointError, match="knows the domains"):
        distill(fewer, run)
    assert not run.student.exists()
    weights = run.teacher / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.raises(ArtifactError, match="was changed"):
        distill(recipe, run)


def test_a_teacher_of_another_split_is_asked_anew(
    trained: tuple[Recipe, RunFolder], make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    """Logits copied from the teacher's own test split would stand beside other texts, and agreement would be noise."""
    _, run = trained
    other = make_recipe(data={"split_seed": 5}, training={"epochs": 0.1})
    student = RunFolder(tmp_path / "other")
    distill(other, student, teacher=run.teacher)
    rows, theirs = (
        parse_eval(folder / "eval.jsonl", ("neg", "pos"), ("books", "films", "phones"))
        for folder in (student.student, run.teacher)
    )
    assert tuple(row.text for row in rows) == load_dataset(other.data).test.texts
    known = {row.text: row.teacher_logits for row in theirs}
    shared = [row for row in rows if row.text in known]
    assert shared
    for row in shared:
        assert row.teacher_logits == pytest.approx(known[row.text], abs=1e-4)


@pytest.mark.parametrize("changed", ["label", "domain", "pair"])
def test_a_teacher_of_the_same_texts_with_other_answers_is_asked_anew(
    make_recipe: MakeRecipe, tmp_path: Path, changed: str
) -> None:
    """Labels that were corrected since would not reach the student's bundle: it would be measured by the old ones."""
    splits = ("train", "train", "train", "validation", "test")
    rows = [
        {**row, "pair": "the plot", "split": splits[number // 2 % 5]}
        for number, row in enumerate(make_rows(40, seed=3))
    ]
    short = {"epochs": 0.1}
    data = {"split_column": "split", "text_pair_column": "pair"}

    def recipe_of(name: str) -> Recipe:
        path = write_jsonl(tmp_path / name, rows)
        return make_recipe(data={**data, "path": str(path)}, teacher={"training": short}, training=short)

    recipe = recipe_of("before.jsonl")
    teacher = RunFolder.create(tmp_path / "teacher", recipe)
    train_teacher(recipe, teacher)
    one, other = [row for row in rows if row["split"] == "test"][1:3]
    assert (one["label"], one["domain"]) != (other["label"], other["domain"])
    if changed == "pair":
        one["pair"] = "the price"
    elif changed == "label":
        one["label"], other["label"] = other["label"], one["label"]
    else:
        one["domain"] = "films" if one["domain"] == "books" else "books"
    recipe = recipe_of("after.jsonl")
    run = RunFolder(tmp_path / "run")
    distill(recipe, run, teacher=teacher.teacher)
    dataset = load_dataset(recipe.data)
    rows_of_student = parse_eval(run.student / "eval.jsonl", dataset.label_names, dataset.domain_names)
    test = dataset.test
    assert [row.text for row in rows_of_student] == list(test.texts)
    assert [row.text_pair for row in rows_of_student] == list(test.text_pairs or ())
    assert [row.label for row in rows_of_student] == [dataset.label_names[label] for label in test.labels]
    assert [row.domain for row in rows_of_student] == [dataset.domain_names[domain] for domain in test.domains]


def test_two_processes_cannot_share_a_run(trained: tuple[Recipe, RunFolder]) -> None:
    """Two writers would mix their checkpoints."""
    recipe, run = trained
    with run.locked(), pytest.raises(ArtifactError, match="another process"):
        train_teacher(recipe, run)

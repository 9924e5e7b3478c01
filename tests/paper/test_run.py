"""The whole of it on tiny texts: runs, resumed, scored, rendered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from hrkd.errors import Interrupted
from hrkd.inference import TorchClassifier
from hrkd.training import StepReport
from paper import cost, execute, run, tables
from paper.bits import unpack


@pytest.fixture
def arguments(tmp_path: Path, plan_file: Path) -> list[str]:
    """Options that keep everything below the test's own folder."""
    work, results = tmp_path / "work", tmp_path / "results"
    return ["--plan", str(plan_file), "--work", str(work), "--results", str(results), "--threads", "1"]


def documents(tmp_path: Path) -> dict[str, dict[str, object]]:
    """Return all result documents by their place."""
    root = tmp_path / "results" / "tiny" / "100"
    return {
        path.relative_to(root).as_posix(): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(root.glob("*/*.json"))
    }


def test_two_methods_by_two_seeds(
    tmp_path: Path, arguments: list[str], plan_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From nothing to a table: every run is made once, on its seed's teacher, and its answers give its accuracy."""
    assert run.main([*arguments, "--quiet"]) == 0
    found = documents(tmp_path)
    assert list(found) == [f"{name}/seed-{n}.json" for name in ("logits", "teacher", "uniform") for n in (0, 1)]
    facts = json.loads((tmp_path / "results" / "tiny" / "dataset.json").read_text(encoding="utf-8"))
    for document in found.values():
        answers = unpack(document["scores"]["correct"], facts["test_size"])
        for domain, accuracy in document["scores"]["test"].items():
            members = unpack(facts["test_domains"][domain], facts["test_size"])
            assert answers[members].mean() == pytest.approx(accuracy, abs=1e-9)
        assert document["machine"]["threads"] == torch.get_num_threads() == 1
        assert document["cost"]["total_steps"] > 0
        assert document["cost"]["examples_per_second"] > 0
        assert document["recipe"]["seed"] == document["seed"]
    for seed in (0, 1):
        assert (
            len({found[f"{name}/seed-{seed}.json"]["teacher_hash"] for name in ("logits", "teacher", "uniform")}) == 1
        )
    assert found["uniform/seed-0.json"]["teacher_hash"] != found["uniform/seed-1.json"]["teacher_hash"]
    text = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "results").rglob("*.json"))
    assert str(tmp_path.parent) not in text
    assert str(Path.home()) not in text
    weights = {path.parent.name for path in (tmp_path / "work").rglob("model.safetensors")}
    assert weights == {"teacher"}

    output = tmp_path / "RESULTS.md"
    rendering = ["--plan", str(plan_file), "--results", str(tmp_path / "results"), "--output", str(output)]
    (tmp_path / "README.md").write_text("no marks", encoding="utf-8")
    assert tables.main([*rendering, "--readme-file", str(tmp_path / "README.md")]) == 0
    assert "| logits | 2 |" in output.read_text(encoding="utf-8")


def test_the_answers_are_in_the_order_of_the_test_split(tmp_path: Path, arguments: list[str]) -> None:
    """Answers in another order give the same accuracy, and pair every text with another one's answer."""
    longer = ["--set", "teacher.training.epochs=3"]
    assert run.main([*arguments, *longer, "--quiet", "--keep", "--seed", "0", "--method", "uniform"]) == 0
    folder = tmp_path / "work" / "tiny" / "100" / "seed-0"
    for model, method in (("teacher", "teacher"), ("student", "uniform")):
        assert (folder / method / model / "model.safetensors").is_file()
        rows = [json.loads(line) for line in (folder / "teacher/teacher/eval.jsonl").read_text("utf-8").splitlines()]
        classifier = TorchClassifier.load(folder / method / model)
        names, domains = classifier.label_names, classifier.domain_names
        right = [
            names[classifier.run(classifier.tokenize(row["text"]), domains.index(row["domain"])).argmax()]
            == row["label"]
            for row in rows
        ]
        assert 0 < sum(right) < len(right)
        assert unpack(documents(tmp_path)[f"{method}/seed-0.json"]["scores"]["correct"], len(rows)).tolist() == right


def test_a_second_start_does_nothing(tmp_path: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that are made again cost days, and change the published numbers."""
    first = [*arguments, "--quiet", "--seed", "0", "--method", "uniform"]
    assert run.main(first) == 0
    before = documents(tmp_path)

    def refuse(*_: object) -> None:
        raise AssertionError("a finished run was made again")

    monkeypatch.setattr(execute, "make_student", refuse)
    monkeypatch.setattr(execute, "make_teacher", refuse)
    assert run.main(first) == 0
    assert documents(tmp_path) == before


def test_damage_is_named_and_not_overwritten(
    tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A damaged result must not be taken for a missing one, nor for a result."""
    path = tmp_path / "results" / "tiny" / "100" / "uniform" / "seed-1.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"schema_version": 1, "da', encoding="utf-8")
    assert run.main(arguments) == 2
    assert f"`{path}` is not valid JSON" in capsys.readouterr().err
    assert path.read_text(encoding="utf-8").endswith('"da')


def test_results_of_another_recipe_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Changing a method after some of its seeds would fill a row with two methods."""
    only = [*arguments, "--quiet", "--seed", "0", "--method", "uniform"]
    assert run.main(only) == 0
    assert run.main([*only, "--set", "training.batch_size=4"]) == 2
    assert "training.batch_size was 8, is 4" in capsys.readouterr().err


def test_an_interrupted_run_goes_on(
    tmp_path: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C in the fifth hour must not cost five hours, and the time before it belongs to the run's cost."""
    only = [*arguments, "--quiet", "--seed", "0", "--method", "uniform"]
    meter_step = cost.Meter.step
    steps = []

    def stop(meter: cost.Meter, report: StepReport) -> None:
        meter_step(meter, report)
        steps.append(report.step)
        if report.step == 3:
            raise Interrupted("stopped")

    monkeypatch.setattr(cost.Meter, "step", stop)
    assert run.main(only) == 130
    assert documents(tmp_path) == {}
    monkeypatch.setattr(cost.Meter, "step", meter_step)
    assert run.main(only) == 0
    assert steps == [1, 2, 3]
    assert documents(tmp_path)["teacher/seed-0.json"]["cost"]["resumed"] is True
    assert documents(tmp_path)["uniform/seed-0.json"]["cost"]["resumed"] is False


def test_a_run_that_another_process_makes_is_left_to_it(tmp_path: Path, arguments: list[str]) -> None:
    """Two processes on one run would overwrite each other's checkpoints."""
    from paper.claims import Claims

    only = [*arguments, "--seed", "0", "--method", "uniform"]
    with Claims(tmp_path / "work" / ".claims").hold("tiny", "100", "uniform", "seed-0"):
        assert run.main(only) == 0
    assert documents(tmp_path) == {}


def test_a_failing_run_is_told_in_the_exit_code(
    tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A night that made only half of its runs must not end as a success."""
    only = [*arguments, "--quiet", "--seed", "0"]
    # Layers that the teacher does not have: known only when the student is built.
    assert run.main([*only, "--set", "student.teacher_layers=[9,10]"]) == 2
    words = capsys.readouterr().err
    assert "failed: tiny 100 % uniform seed 0" in words
    assert "failed: tiny 100 % logits seed 0" in words
    assert list(documents(tmp_path)) == ["teacher/seed-0.json"]


def test_listing_makes_nothing(tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A look at what is missing must not start it."""
    assert run.main([*arguments, "--list"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "tiny 100 % uniform seed 0"
    assert not (tmp_path / "results").exists()
    assert not (tmp_path / "work").exists()

"""The whole loop through the command line, once, on tiny inputs; then each separate command on its artefacts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hrkd.artifact import hash_files
from hrkd_cli.main import main
from tiny_recipe import write_recipe

RESULT_KEYS = {
    *("name", "role", "engine", "precision", "size_bytes", "threads", "latency_ms", "cold_start_ms", "peak_rss_bytes"),
    *("throughput_per_s", "accuracy", "agreement_with_teacher", "valid", "model_sha256"),
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path, tiny_encoder: Path) -> Path:
    """The tiny recipe, in a folder that will hold `runs`."""
    return write_recipe(tmp_path_factory.mktemp("run") / "tiny.yaml", tiny_data, tiny_encoder)


@pytest.fixture(scope="module")
def run_folder(recipe: Path, undisturbed: None) -> Path:
    """A finished run whose measurement is valid."""
    runs = recipe.parent / "runs"
    assert main(["run", str(recipe), "--runs-dir", str(runs), "--quiet"]) == 0
    return runs / "tiny"


def test_run_leaves_everything_behind(run_folder: Path) -> None:
    """Prevents a run that ends well and lacks a part that others rely on."""
    files = {path.relative_to(run_folder).as_posix() for path in run_folder.rglob("*") if path.is_file()}
    assert {"recipe.yaml", "bench.json", "report.html", "teacher/stage.json", "student/stage.json"} <= files
    for bundle in ("int8", "comparison/student-fp32", "comparison/teacher-fp32"):
        assert {path.name for path in (run_folder / "bundles" / bundle).iterdir()} == {
            *("model.onnx", "tokenizer.json", "manifest.json", "eval.jsonl", "README.md")
        }
    assert not [name for name in files if name.endswith(".tmp")]
    document = json.loads((run_folder / "bench.json").read_text(encoding="utf-8"))
    assert [(row["role"], row["engine"], row["precision"]) for row in document["results"]] == [
        ("teacher", "pytorch", "fp32"),
        ("teacher", "onnxruntime", "fp32"),
        ("student", "pytorch", "fp32"),
        ("student", "onnxruntime", "fp32"),
        ("student", "onnxruntime", "int8"),
    ]
    steps = [(step["baseline"], step["subject"]) for step in document["chain"]]
    assert steps[-2:] == [("student", "student-fp32"), ("student-fp32", "student-int8")]
    assert all(set(row) >= RESULT_KEYS for row in document["results"])


def test_a_second_run_keeps_every_stage(recipe: Path, run_folder: Path, hrkd) -> None:
    """Prevents hours of training, or a measurement, from being done again for unchanged inputs."""
    before = hash_files(run_folder)
    result = hrkd("run", recipe, "--runs-dir", run_folder.parent, "--json")
    assert result.code == 0, result.err
    assert result.document == json.loads((run_folder / "bench.json").read_text(encoding="utf-8"))
    assert result.err.count("kept, its inputs are unchanged") == 6
    after = hash_files(run_folder)
    assert {name for name in before if before[name] != after.get(name)} <= {"report.html"}


def test_an_invalid_measurement_is_taken_again(recipe: Path, run_folder: Path, monkeypatch, hrkd) -> None:
    """Prevents numbers of one noisy minute from staying for ever, while their report asks for a new measurement."""
    bench = run_folder / "bench.json"
    valid = json.loads(bench.read_text(encoding="utf-8"))
    disturbed = {**valid, "results": [{**row, "valid": False, "invalid_reasons": ["?"]} for row in valid["results"]]}
    bench.write_text(json.dumps(disturbed), encoding="utf-8")
    monkeypatch.setattr("hrkd_cli.pipeline.here", lambda *_: valid)
    result = hrkd("run", recipe, "--runs-dir", run_folder.parent)
    assert result.code == 0, result.err
    assert "bench: measured again" in result.err
    assert json.loads(bench.read_text(encoding="utf-8")) == valid


def test_a_refused_change_loses_nothing(recipe: Path, run_folder: Path, hrkd) -> None:
    """Prevents another recipe under the same name from replacing trained weights, or the recipe they came from."""
    before = hash_files(run_folder)
    result = hrkd("run", recipe, "--runs-dir", run_folder.parent, "--set", "training.epochs=2")
    assert result.code == 2
    assert "was made from other inputs" in result.err
    assert "--overwrite" in result.err
    assert hash_files(run_folder) == before


def test_a_changed_bundle_is_made_again(recipe: Path, run_folder: Path, hrkd) -> None:
    """Prevents a damaged bundle from being kept because its manifest still looks current."""
    tokenizer = run_folder / "bundles" / "int8" / "tokenizer.json"
    original = tokenizer.read_bytes()
    tokenizer.write_bytes(original + b" ")
    result = hrkd("run", recipe, "--runs-dir", run_folder.parent, "--quiet", "--json")
    assert result.code == 0, result.err
    assert tokenizer.read_bytes() == original


def test_training_stages_print_their_record(recipe: Path, run_folder: Path, hrkd) -> None:
    """Prevents `--json` output mixed with words, and a stage that runs again as a separate command."""
    for command, stage in (("teacher", "teacher"), ("distill", "student")):
        result = hrkd(command, recipe, "--runs-dir", run_folder.parent, "--json")
        assert result.code == 0, result.err
        assert result.document["stage"] == stage
        assert set(result.document["details"]["test"]) == {"books", "films", "phones"}
        table = hrkd(command, recipe, "--runs-dir", run_folder.parent, "--quiet")
        assert "average" in table.out
        assert table.err == ""


def test_evaluate_agrees_with_the_stage(recipe: Path, run_folder: Path, hrkd) -> None:
    """Prevents two answers to one question: the folder's own texts are the recipe's test split."""
    own = hrkd("evaluate", run_folder / "student", "--json").document
    given = hrkd("evaluate", run_folder / "student", "--recipe", recipe, "--json").document
    stage = json.loads((run_folder / "student" / "stage.json").read_text(encoding="utf-8"))
    assert own["accuracy"] == given["accuracy"]
    assert own["accuracy"]["domains"] == stage["details"]["test"]
    assert own["agreement_with_teacher"] is not None
    assert "95 % interval" in hrkd("evaluate", run_folder / "student").out


def test_export_keeps_the_runs_own_bundle(run_folder: Path, hrkd) -> None:
    """Prevents the separate command from naming or hashing a bundle in another way than the run."""
    result = hrkd("export", run_folder / "student", "--onnx", "--quantize", "int8", "--json")
    assert result.code == 0, result.err
    assert result.document["bundle"] == str(run_folder / "bundles" / "int8")
    assert "kept, its inputs are unchanged" in result.err


def test_export_refuses_to_replace_another_bundle(run_folder: Path, tmp_path: Path, hrkd) -> None:
    """Prevents a bundle from being lost to an export with other options into the same folder."""
    bundle = tmp_path / "bundle"
    assert hrkd("export", run_folder / "student", "--output", bundle).code == 0
    refused = hrkd("export", run_folder / "student", "--quantize", "int8", "--output", bundle)
    assert refused.code == 2
    assert "exists already" in refused.err
    replaced = hrkd("export", run_folder / "student", "--quantize", "int8", "--output", bundle, "--overwrite", "--json")
    assert replaced.document["precision"] == "int8"


def test_bench_adds_the_teacher_in_onnx(run_folder: Path, tmp_path: Path, monkeypatch, hrkd) -> None:
    """Prevents a student that looks fast only because its teacher was measured in PyTorch alone."""
    document = json.loads((run_folder / "bench.json").read_text(encoding="utf-8"))
    asked = {}

    def measured_before(bundles, baselines, config, progress):
        asked.update(subjects=bundles, baselines=baselines, config=config)
        return document

    monkeypatch.setattr("hrkd_cli.places.here", measured_before)
    output, report = tmp_path / "bench.json", tmp_path / "report.html"
    files = ("--output", output, "--report", report, "--max-texts", "6", "--threads", "2", "--json")
    result = hrkd("bench", run_folder / "bundles" / "int8", "--baseline", run_folder / "teacher", *files)
    assert result.code == 0, result.err
    assert asked["subjects"] == [run_folder / "bundles" / "int8"]
    comparison = run_folder / "bundles" / "comparison" / "teacher-fp32"
    assert asked["baselines"] == [run_folder / "teacher", comparison]
    assert (asked["config"].max_texts, asked["config"].threads) == (6, 2)
    assert result.document == json.loads(output.read_text(encoding="utf-8")) == document
    assert "<svg" in report.read_text(encoding="utf-8")


def test_bench_says_why_the_teacher_is_not_measured_in_onnx(run_folder: Path, monkeypatch, capsys) -> None:
    """Prevents a row that is missing without a word on a machine without the export extra."""
    from hrkd_cli import measure
    from hrkd_cli.output import Output

    monkeypatch.setattr(measure, "is_installed", lambda name: name != "onnx")
    assert measure.with_onnx_teacher(run_folder / "teacher", Output()) == [run_folder / "teacher"]
    assert "hrkd[export]" in capsys.readouterr().err


def test_report_is_rendered_again_with_the_runs_context(run_folder: Path, tmp_path: Path, hrkd) -> None:
    """Prevents a page that cannot be made again from the JSON, or that lost the recipe and the hashes."""
    page = tmp_path / "page.html"
    assert hrkd("report", run_folder, "--output", page, "--json").document == {"report": str(page)}
    stage = json.loads((run_folder / "student" / "stage.json").read_text(encoding="utf-8"))
    text = page.read_text(encoding="utf-8")
    assert "teacher_layers" in text
    assert stage["files"]
    assert hrkd("report", run_folder).code == 2  # the run's own page is not replaced unasked


def test_a_student_without_its_teacher_is_not_mixed_with_a_new_one(recipe: Path, tmp_path: Path, hrkd) -> None:
    """Prevents a new teacher from being trained for minutes before the old student stands in its way."""
    (tmp_path / "tiny" / "student").mkdir(parents=True)
    result = hrkd("run", recipe, "--runs-dir", tmp_path)
    assert result.code == 2
    assert "without its teacher" in result.err
    assert not (tmp_path / "tiny" / "teacher").exists()

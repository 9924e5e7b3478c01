"""What `hrkd bench` and its like refuse before they export, ask a device, or measure."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hrkd.artifact import folder_hash
from hrkd.bundle import write_manifest
from hrkd.errors import BenchError, BudgetError
from hrkd_bench.device import facts, remote
from hrkd_bench.gate.budget import parse_budget
from hrkd_cli.judge import Judge
from hrkd_cli.measure import finish
from hrkd_cli.measurement_files import Files
from hrkd_cli.output import Output
from tiny_bundle import LABELS, make_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    make_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """A model folder as far as it is looked at before work: nothing loads its weights."""
    folder = tmp_path / "teacher"
    folder.mkdir()
    names = {"domain_names": ["books", "films"], "label_names": list(LABELS)}
    (folder / "classifier.json").write_text(json.dumps(names), encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done: exports, measurements, and questions to a device; none of it really happens."""
    done: list[str] = []

    def export(baseline: Path, *_: object) -> list[Path]:
        if (baseline / "classifier.json").is_file():
            done.append("export")
        return [baseline]

    def measure(*_: object, **__: object) -> dict[str, Any]:
        done.append("measure")
        raise BenchError("measured")

    monkeypatch.setattr("hrkd_cli.measure.with_onnx_teacher", export)
    monkeypatch.setattr("hrkd_cli.places.bench", measure)
    monkeypatch.setattr("hrkd_bench.profiled.bench", measure)
    monkeypatch.setattr(facts, "ask", lambda target: done.append("ask"))
    monkeypatch.setattr(facts, "check", lambda *_, **__: None)
    monkeypatch.setattr(remote, "measure_there", measure)
    return done


def cannot_impose(*_: object) -> None:
    raise BenchError("this machine cannot impose it")


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("nowhere", [], "`nowhere` is not a folder"),
        ("bundle", ["--target", "browser"], "a browser measures one bundle at a time"),
        ("bundle", ["--profile", "quota-0.5"], "this machine cannot impose it"),
        ("bundle", ["--baseline", "teecher"], "`teecher` is not a folder"),
        ("bundle", ["--host", "pi@device", "--baseline", "teecher"], "`teecher` is not a folder"),
        ("bundle", ["--output", "file/x.json"], "`file` is not a folder"),
        ("bundle", ["--output", "x", "--report", "./x"], "`x` is to hold two outputs"),
        ("bundle", ["--junit", "x.xml"], "--junit and --markdown belong to --budget"),
        ("bundle", ["--markdown", "x.md"], "--junit and --markdown belong to --budget"),
        ("bundle", ["--drops-from", "teacher"], "--drops-from belongs to --budget"),
        ("bundle", ["--profiles", "mine.yaml"], "--profiles belongs to --profile"),
    ],
)
def test_bench_refuses_before_it_exports(
    name: str, options: list[str], words: str, bundle: Path, teacher: Path, work: list[str], monkeypatch, hrkd
) -> None:
    """Prevents minutes of exporting a teacher before a slip is told, and an option that is ignored in silence."""
    monkeypatch.chdir(bundle.parent)
    monkeypatch.setattr("hrkd_bench.profiled.grant", cannot_impose)
    monkeypatch.setattr("hrkd_cli.places.grant", cannot_impose, raising=False)
    Path("file").write_text("theirs", encoding="utf-8")
    result = hrkd("bench", name, "--baseline", "teacher", *options)
    assert (result.code, result.out, work) == (2, "", [])
    assert words in result.err
    assert "hint: " in result.err or "impose" in words


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--budget", "p50=1s,drop=1"], "`drop` cannot be checked: no baseline is measured"),
        (["--budget", "drop=1,worst-domain-drop=1"], "`drop` and `worst-domain-drop` cannot be checked"),
        (["--budget", "drop=1", "--drops-from", "tiny"], "`tiny` is what they would count from"),
        (["--budget", "drop=1", "--drops-from", "teecher"], "no result is called `teecher`"),
        (["--budget", "size=1MB", "--drops-from", "teecher"], "no result is called `teecher`"),
        (["--budget", "drop=1", "--drops-from", "teecher", "--baseline", "big"], "there are: big, tiny"),
    ],
)
def test_drops_that_nothing_can_be_counted_from_are_refused(
    options: list[str], words: str, bundle: Path, work: list[str], monkeypatch, hrkd
) -> None:
    """Prevents a measurement that is thrown away, because its budget names a model that was not measured."""
    monkeypatch.chdir(bundle.parent)
    make_bundle(Path("big"), name="big", role="teacher")
    result = hrkd("bench", "bundle", *options)
    assert (result.code, work) == (2, [])
    assert words in result.err
    assert hrkd("bench", "bundle", "--budget", "drop=1", "--baseline", "big").err == "error: measured\n"


def test_a_measurement_is_written_before_it_is_judged(tmp_path: Path) -> None:
    """Prevents minutes of measuring from being lost to a budget that cannot be checked."""
    target = tmp_path / "bench.json"
    value = json.loads(Path("benchmarks/results/demo.json").read_text(encoding="utf-8"))
    with pytest.raises(BudgetError):
        finish(value, Output(), Files(target), Judge(parse_budget("drop=1"), "nobody"))
    assert json.loads(target.read_text(encoding="utf-8")) == value


def test_a_device_gets_the_bundle_of_a_model_folder(bundle: Path, teacher: Path, work: list[str], monkeypatch, hrkd):
    """Prevents a baseline from vanishing from a device's table without a word."""
    asked: dict[str, Any] = {}

    def measure(_: object, bundles: list[Path], baselines: list[Path], *__: object, **___: object) -> None:
        asked.update(bundles=bundles, baselines=baselines)
        raise BenchError("measured")

    monkeypatch.setattr(remote, "measure_there", measure)
    alone = hrkd("bench", bundle, "--host", "pi@device", "--baseline", teacher)
    assert (alone.code, asked) == (2, {})
    assert f"`{teacher}` is no bundle, and none that was made from it is given" in alone.err
    exported = bundle.with_name("exported")
    manifest = make_bundle(exported, name="teacher-fp32", role="teacher")
    write_manifest(exported, replace(manifest, parents={"checkpoint": folder_hash(teacher)}))
    assert "measured" in hrkd("bench", bundle, "--host", "pi@device", "--baseline", teacher, "--baseline", exported).err
    assert asked == {"bundles": [bundle], "baselines": [exported]}
    assert "measured" in hrkd("bench", exported, "--host", "pi@device", "--baseline", teacher).err
    assert asked == {"bundles": [exported], "baselines": []}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("bench", "merge", "result.json", "bundle", "--junit", "x.xml"), "belong to --budget"),
        (("bench", "merge", "result.json", "bundle", "--output", "x", "--report", "x"), "two outputs"),
        (("bench", "compare", "old.json", "new.json", "--junit", "x", "--markdown", "x"), "two outputs"),
        (("export", "teacher", "--max-size", "10"), "--max-size belongs to --quantize auto"),
        (("export", "teacher", "--quantize", "int8", "--max-size", "10"), "--max-size belongs to --quantize auto"),
    ],
)
def test_other_commands_refuse_options_that_do_nothing(
    arguments: tuple[str, ...], words: str, teacher: Path, monkeypatch, hrkd
) -> None:
    """Prevents a green build from a budget file without checks, and a result that overwrites another one."""
    monkeypatch.chdir(teacher.parent)
    result = hrkd(*arguments)
    assert (result.code, result.out) == (2, "")
    assert words in result.err
    assert "hint: " in result.err


def test_a_plan_that_cannot_be_written_is_refused_before_work(hrkd, tiny_recipe: Path, tmp_path: Path) -> None:
    """Prevents a plan of minutes that ends in a traceback where its recipe should be written."""
    (tmp_path / "file").write_text("theirs", encoding="utf-8")
    options = ("--output", tmp_path / "file" / "x.yaml", "--work", tmp_path / "work")
    result = hrkd("plan", tiny_recipe, "--budget", "p50=1s", *options)
    assert result.code == 2
    assert "is not a folder" in result.err
    assert not (tmp_path / "work").exists()

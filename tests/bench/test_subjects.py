"""Recognising what is to be measured, and choosing the texts, before anything is started."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import hrkd_bench.measurement.process
from hrkd.artifact import write_json
from hrkd.bundle import EVAL, write_eval
from hrkd.errors import ArtifactError, BenchError, MissingExtraError
from hrkd.recipe import BenchConfig
from hrkd.shape import to_json
from hrkd_bench import engines
from hrkd_bench.bench import bench
from hrkd_bench.examples import choose, read_examples
from hrkd_bench.subjects import subject_of, with_unique_names
from tiny_bundle import make_bundle, make_examples

LABELS, DOMAINS = ("neg", "pos"), ("books", "films")


@pytest.fixture(autouse=True)
def _nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every refusal of this file must come before a process is started."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(hrkd_bench.measurement.process.subprocess, "Popen", refuse)


def make_checkpoint(folder: Path, members: int = 0) -> Path:
    """Write what the parent process looks at in a model folder."""
    folder.mkdir()
    write_json(folder / "classifier.json", {"domain_names": list(DOMAINS), "label_names": list(LABELS)})
    places = [folder / "members" / str(number) for number in range(members)] or [folder]
    for number, place in enumerate(places):
        place.mkdir(parents=True, exist_ok=True)
        (place / "model.safetensors").write_bytes(bytes([number]))
    return folder


def test_a_bundle_says_what_it_is(tmp_path: Path) -> None:
    """Prevents a teacher's bundle from being listed as a student because of its place on the command line."""
    manifest = make_bundle(tmp_path / "b", name="demo", role="teacher", precision="int8")
    subject = subject_of(tmp_path / "b", "student")
    assert (subject.name, subject.role, subject.engine, subject.precision) == ("demo", "teacher", "onnxruntime", "int8")
    assert subject.model_sha256 == manifest.files["model.onnx"].sha256


def test_a_model_folder_is_measured_in_pytorch(tmp_path: Path) -> None:
    """Prevents a student's folder given as a baseline from being called a teacher."""
    folder = make_checkpoint(tmp_path / "model")
    assert (subject_of(folder, "teacher").role, subject_of(folder).role) == ("teacher", "student")
    write_json(folder / "stage.json", {"schema_version": 1, "stage": "student", "input_hash": "", "files": {}})
    subject = subject_of(folder, "teacher")
    assert (subject.name, subject.role, subject.engine, subject.precision) == ("model", "student", "pytorch", "fp32")


def test_a_teacher_of_one_model_per_domain(tmp_path: Path) -> None:
    """Prevents a per-domain teacher from being refused, and its hash from ignoring all members but one."""
    folder = make_checkpoint(tmp_path / "model", members=2)
    before = subject_of(folder).model_sha256
    (folder / "members" / "1" / "model.safetensors").write_bytes(b"other")
    assert subject_of(folder).model_sha256 != before


def test_missing_weights_and_names(tmp_path: Path) -> None:
    """Prevents a missing file from being noticed only by a child process."""
    folder = make_checkpoint(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    with pytest.raises(BenchError, match=r"model\.safetensors` is missing"):
        subject_of(folder)
    write_json(make_checkpoint(tmp_path / "other") / "classifier.json", {"label_names": []})
    with pytest.raises(BenchError, match="names no domains"):
        subject_of(tmp_path / "other")


@pytest.mark.parametrize(("name", "words"), [("absent", "is not a folder"), ("empty", "has neither")])
def test_other_folders_are_refused(tmp_path: Path, name: str, words: str) -> None:
    """Prevents a traceback for a mistyped path."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(BenchError, match=words):
        subject_of(tmp_path / name)


def test_missing_torch_is_said_before_anything_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents a device without torch from measuring for minutes and then failing on the baseline."""
    make_bundle(tmp_path / "bundle")
    folder = make_checkpoint(tmp_path / "model")
    find_spec = engines.importlib.util.find_spec
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None if name == "torch" else find_spec(name))
    with pytest.raises(MissingExtraError) as caught:
        bench([tmp_path / "bundle"], baselines=[folder], config=BenchConfig())
    assert "hrkd[train]" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("domains", "words"), [(("films", "books"), "domains films, books"), (("books", "phones"), "domains books, phones")]
)
def test_other_domains_are_refused(tmp_path: Path, domains: tuple[str, ...], words: str) -> None:
    """Prevents comparing heads of different domains because their numbers agree."""
    make_bundle(tmp_path / "a")
    make_bundle(tmp_path / "b", domain_names=domains)
    with pytest.raises(BenchError, match=words):
        bench([tmp_path / "a"], baselines=[tmp_path / "b"], config=BenchConfig())


def test_nothing_or_the_same_twice_is_refused(tmp_path: Path) -> None:
    """Prevents a comparison of a bundle with itself that looks like a perfect student."""
    make_bundle(tmp_path / "a")
    with pytest.raises(BenchError, match="nothing to measure"):
        bench([], baselines=[tmp_path / "a"], config=BenchConfig())
    with pytest.raises(BenchError, match="given twice"):
        bench([tmp_path / "a"], baselines=[tmp_path / "a" / ".." / "a"], config=BenchConfig())


def test_namesakes_are_told_apart(tmp_path: Path) -> None:
    """Prevents two rows of one name, where nobody knows which is faster."""
    make_bundle(tmp_path / "a")
    one = subject_of(tmp_path / "a")
    subjects = with_unique_names([one, replace(one, precision="int8"), one, replace(one, name="other")])
    names = [subject.name for subject in subjects]
    assert names == ["tiny onnxruntime fp32 #1", "tiny onnxruntime int8", "tiny onnxruntime fp32 #3", "other"]


def test_evaluation_texts(tmp_path: Path) -> None:
    """Prevents labels, domains and the teacher's answers from being shifted against each other."""
    examples = make_examples(DOMAINS, 10)
    write_eval(tmp_path, examples)
    texts = read_examples(tmp_path, LABELS, DOMAINS)
    assert [LABELS[label] for label in texts.labels] == [example.label for example in examples]
    assert [DOMAINS[domain] for domain in texts.domains] == [example.domain for example in examples]
    assert np.mean(texts.teacher_predictions == texts.labels) == 0.9


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"label": "maybe"}, "unknown|does not know"),
        ({"teacher_logits": [1.0]}, "line 1: 1 teacher logits for 2 labels"),
        ({"text": None}, "line 1: "),
        (None, "holds no examples"),
    ],
)
def test_damaged_evaluation_texts(tmp_path: Path, change: dict[str, object] | None, words: str) -> None:
    """Prevents an accuracy that silently leaves out lines."""
    row = to_json(make_examples(DOMAINS, 1)[0])
    text = "" if change is None else json.dumps(row | change) + "\n"
    (tmp_path / EVAL).write_text(text, encoding="utf-8")
    with pytest.raises(ArtifactError, match=words):
        read_examples(tmp_path, LABELS, DOMAINS)


def test_missing_evaluation_texts(tmp_path: Path) -> None:
    """Prevents a traceback for a folder without eval.jsonl."""
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_examples(tmp_path, LABELS, DOMAINS)


def test_a_sample_keeps_every_domain_in_proportion(tmp_path: Path) -> None:
    """Prevents a small domain, perhaps the worst one, from vanishing when fewer texts are measured."""
    examples = make_examples(("books",), 90) + make_examples(("films",), 10)
    write_eval(tmp_path, examples)
    texts = read_examples(tmp_path, LABELS, DOMAINS)
    for most, expected in ((2, [1, 1]), (20, [17, 3]), (99, [89, 10]), (100, [90, 10]), (500, [90, 10])):
        chosen = choose(texts, most, seed=0)
        assert np.bincount(texts.domains[chosen]).tolist() == expected
        assert (np.diff(chosen) > 0).all()
    assert len(choose(texts, None, seed=0)) == 100
    with pytest.raises(BenchError, match="fewer than the 2 domains"):
        choose(texts, 1, seed=0)

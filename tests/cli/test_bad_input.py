"""Bad input, as a user gives it: one clear message with the value, exit code 2, and nothing written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tiny import make_encoder, make_rows, swap_words, write_jsonl
from tiny_bundle import make_bundle


def with_rows(change) -> list[dict[str, str]]:
    """Return the tiny rows after a change."""
    return change(make_rows())


def one_class(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [row for row in rows if row["domain"] != "films" or row["label"] == "pos"]


def label_only_in_test(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    split = [{**row, "split": ("train", "validation", "test")[index // 2 % 3]} for index, row in enumerate(rows)]
    return [{**row, "label": "odd"} if row["split"] == "test" and row["label"] == "pos" else row for row in split]


BAD_DATA = [
    pytest.param(one_class, [], ["films"], id="one-class domain"),
    pytest.param(label_only_in_test, ["data.split_column=split"], ["odd"], id="label in test, not in train"),
    pytest.param(list, ["data.text_column=txt"], ["`txt`", "text"], id="wrong column"),
    pytest.param(list, ["data.domains=[books, garden]"], ["garden"], id="empty domain"),
    pytest.param(lambda rows: rows[:0], [], ["reviews.jsonl"], id="empty file"),
]


@pytest.mark.parametrize(("change", "overrides", "words"), BAD_DATA)
@pytest.mark.parametrize("command", ["check", "teacher", "run"])
def test_bad_data_is_refused_before_work(command, change, overrides, words, tmp_path, tiny_recipe, hrkd) -> None:
    """Prevents minutes of training on data that the last stage then refuses."""
    data = write_jsonl(tmp_path / "reviews.jsonl", with_rows(change))
    overrides = [f"data.path={json.dumps(str(data))}", *overrides]
    options = [part for override in overrides for part in ("--set", override)]
    runs = tmp_path / "runs"
    words_of = {"check": ["data", "check"], "teacher": ["teacher"], "run": ["run"]}[command]
    result = hrkd(*words_of, tiny_recipe, *options, *([] if command == "check" else ["--runs-dir", runs]))
    assert result.code == 2, result.err
    assert result.err.startswith("error: ")
    assert all(word in result.err for word in words), result.err
    assert not (runs / "tiny" / "teacher").exists()


NARROW = ["student.hidden_size=24", "student.attention_heads=3", "student.teacher_layers=null"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["training.epohcs=3"], ["`training.epohcs`", "did you mean `epochs`?"]),
        (["student.layers=0"], ["`student.layers`", "0"]),
        (["export.target=pi9"], ["target `pi9` is unknown", "arm64"]),
        (["export.runtime_version=1.10"], ["`export.runtime_version`", "in quotes"]),
        (["export.runtime_version='1.2'"], ["onnxruntime 1.2 is too old"]),
        (["export.runtime_version='1.22'", "export.quantize=int4-weights"], ["1.22 lacks", "`int4-weights`", "1.23"]),
        (["student.layers=9", "student.teacher_layers=null"], ["9", "4"]),
        (["student.teacher_layers=[2, 9]"], ["9", "4"]),
        (["data.path=nowhere.csv"], ["`nowhere.csv` does not exist"]),
        (["teacher.base=./nowhere"], ["`./nowhere` does not exist"]),
        (["teacher.base=package:nowhere"], ["`nowhere` is not installed"]),
        (["teacher.base=null", "teacher.adopt=./nowhere"], ["`./nowhere` does not exist"]),
        (["method.preset=hinton"], ["`method`", "hinton", "released"]),
        (["method.phases=[{until: 0.5}]"], ["rising fractions"]),
        (["student.preset=3x383"], ["3x383", "3x384"]),
        (["student.general={texts: nowhere.txt}"], ["`student.general.texts` nowhere.txt"]),
        (["student.per_domain=true"], ["`student.per_domain`", "hrkd distill"]),
        (["data.unlabelled_texts=nowhere.csv"], ["`data.unlabelled_texts` nowhere.csv"]),
        (NARROW, ["cannot be copied"]),
        ([*NARROW, "student.init=pruned_teacher", "method.attention_weight=1"], ["3 attention heads, the teacher 4"]),
        (["nonsense"], ["`nonsense`", "section.key=value"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_bad_recipe_is_refused_before_work(overrides, words, tmp_path, tiny_recipe, hrkd) -> None:
    """Prevents a wrong value from being found after the teacher is trained."""
    options = [part for override in overrides for part in ("--set", override)]
    result = hrkd("run", tiny_recipe, *options, "--runs-dir", tmp_path / "runs")
    assert result.code == 2, result.err
    assert all(word in result.err for word in words), result.err
    assert not (tmp_path / "runs" / "tiny" / "teacher").exists()


def test_a_foreign_tokenizer_is_refused_before_the_teacher_is_trained(tmp_path, tiny_recipe, hrkd) -> None:
    """Prevents an hour of teacher training before the student's checkpoint turns out to read other tokens."""
    foreign = make_encoder(tmp_path / "foreign", layers=2)
    swap_words(foreign, "good", "bad")
    checkpoint = ["student.layers=null", "student.teacher_layers=null", "student.init=checkpoint"]
    options = [part for value in [*checkpoint, f"student.checkpoint={foreign}"] for part in ("--set", value)]
    result = hrkd("run", tiny_recipe, *options, "--runs-dir", tmp_path / "runs")
    assert result.code == 2, result.err
    assert "own_tokenizer" in result.err
    assert not (tmp_path / "runs" / "tiny" / "teacher").exists()


def test_invalid_utf8_is_said_with_its_place(tmp_path, tiny_recipe, tiny_data, hrkd) -> None:
    """Prevents a UnicodeDecodeError, and silent replacement characters in the texts."""
    damaged = tmp_path / "damaged.jsonl"
    damaged.write_bytes(tiny_data.read_bytes().replace(b"very", b"v\xffry", 1))
    result = hrkd("data", "check", tiny_recipe, "--path", damaged)
    assert result.code == 2
    assert "damaged.jsonl" in result.err
    assert "UTF-8" in result.err


def test_a_text_of_100_000_characters_is_reported_not_refused(tmp_path, tiny_recipe, hrkd) -> None:
    """Prevents a crash on one long document, and a cut that nobody is told about."""
    rows = make_rows()
    rows[0] = {**rows[0], "text": "good " * 20_000}
    data = write_jsonl(tmp_path / "long.jsonl", rows)
    result = hrkd("data", "check", tiny_recipe, "--path", data, "--json")
    assert result.code == 0, result.err
    assert sum(group["over_long"] for group in result.document["groups"]) == 1


def test_a_bundle_with_a_changed_byte_is_refused(tmp_path: Path, hrkd) -> None:
    """Prevents numbers of a model that is not the one in the manifest."""
    make_bundle(tmp_path / "bundle")
    model = tmp_path / "bundle" / "model.onnx"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    result = hrkd("bench", tmp_path / "bundle")
    assert result.code == 2
    assert "was changed" in result.err


@pytest.mark.parametrize("command", ["evaluate", "export", "bench"])
@pytest.mark.parametrize("content", [None, {}, {"config.json": "{}"}], ids=["missing", "empty", "another model"])
def test_what_is_no_model_folder_is_refused(command, content, tmp_path: Path, hrkd) -> None:
    """Prevents a traceback from three libraries down for a mistyped path."""
    folder = tmp_path / "model"
    if content is not None:
        folder.mkdir()
        for name, text in content.items():
            (folder / name).write_text(text, encoding="utf-8")
    result = hrkd(command, folder)
    assert result.code == 2, result.err
    assert str(folder) in result.err


def test_unknown_data_set_cannot_be_fetched(hrkd) -> None:
    """Prevents a download of something unknown, and a dead end for the data sets that need no fetching."""
    result = hrkd("data", "fetch", "imdb")
    assert result.code == 2
    assert "`imdb` cannot be fetched" in result.err


@pytest.mark.parametrize("option", ["--output", "--report"])
def test_bench_refuses_to_replace_before_it_measures(option, tmp_path: Path, hrkd) -> None:
    """Prevents an older measurement from being lost to a repeated command."""
    make_bundle(tmp_path / "bundle")
    existing = tmp_path / "kept"
    existing.write_text("mine", encoding="utf-8")
    result = hrkd("bench", tmp_path / "bundle", option, existing)
    assert result.code == 2
    assert "exists already" in result.err
    assert existing.read_text(encoding="utf-8") == "mine"


def test_overrides_need_a_recipe(hrkd) -> None:
    """Prevents a `--set` that is accepted and then does nothing."""
    assert hrkd("evaluate", "x", "--set", "data.max_length=8").code == 2
    assert hrkd("data", "check", "files", "--path", "x", "--set", "data.max_length=8").code == 2

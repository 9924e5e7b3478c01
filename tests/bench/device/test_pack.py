"""The packed runner: the same bytes for the same inputs, and a measurement on a machine without anything of ours."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hrkd.errors import ArtifactError, BenchError
from hrkd_bench.bench import recognise
from hrkd_bench.device import closure
from hrkd_bench.device.answers import compare_answers
from hrkd_bench.device.merge import Measured, with_device
from hrkd_bench.device.pack import pack
from hrkd_bench.device.result import parse_result, read_result
from hrkd_bench.device.start import NEEDED
from hrkd_bench.document.schema import read_document
from ssh_server import QUICK
from tiny_bundle import make_bundle


@pytest.fixture(scope="module")
def runner(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pack") / "runner.pyz"
    pack(path, recognise([bundle], []), [], QUICK)
    return path


def start(runner: Path, folder: Path, *options: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run it in a folder, with what the interpreter has and nothing of the project on its path."""
    command = [sys.executable, str(runner), "--work", str(folder), *options]
    environment = {"PATH": "/usr/bin:/bin", **more}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environment)


@pytest.fixture(scope="module")
def answered(runner: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What an emulator would send back: answers of the small bundle, no times."""
    folder = tmp_path_factory.mktemp("emulated")
    done = start(runner, folder, "--emulated")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in folder.iterdir()] == ["hrkd-result.json"]
    return (folder / "hrkd-result.json").read_bytes()


def test_the_same_inputs_give_the_same_bytes(bundle: Path, runner: Path, tmp_path: Path) -> None:
    """Prevents two runners with the same bundle from being told apart by the clock or the machine that packed them."""
    shutil.copytree(bundle, tmp_path / "copy")
    pack(tmp_path / "again.pyz", recognise([tmp_path / "copy"], []), [], QUICK)
    assert (tmp_path / "again.pyz").read_bytes() == runner.read_bytes()
    with zipfile.ZipFile(runner) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    with pytest.raises(ArtifactError, match="exists already"):
        pack(tmp_path / "again.pyz", recognise([bundle], []), [], QUICK)


def test_a_measurement_from_the_file_alone(runner: Path, bundle: Path, tmp_path: Path) -> None:
    """Prevents a runner that works only beside the project, and leaves its unpacked models behind."""
    done = start(runner, tmp_path, "--output", "out.json")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]
    document = read_document(Measured(read_result(tmp_path / "out.json"), [bundle]).document())
    assert document.results[0].latency_ms.end_to_end.n == 24
    assert document.results[0].device == document.environment.cpu
    again = start(runner, tmp_path, "--output", "out.json")
    assert (again.returncode, "exists already" in again.stderr) == (2, True)


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        ("sys.version_info = (3, 9, 2)", "3.11 or later is needed"),
        ("import struct; struct.calcsize = lambda _: 4", "32-bit program"),
        (
            f"import importlib.util as u; o = u.find_spec; u.find_spec = lambda n: None if n in {NEEDED} else o(n)",
            "missing",
        ),
        ("import shutil; shutil.disk_usage = lambda path: type('U', (), {'free': 7})", "0 MB free"),
    ],
)
def test_a_device_that_cannot_measure_says_why(runner: Path, tmp_path: Path, patch: str, words: str) -> None:
    """Prevents a traceback on a device where nobody can look into the code."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(f"import sys\n{patch}\n")
    done = start(runner, tmp_path, PYTHONPATH=str(tmp_path / "site"))
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert words in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def flip(runner: Path, target: Path) -> None:
    """Change a byte of a file inside, and leave its checksum."""
    content = bytearray(runner.read_bytes())
    with zipfile.ZipFile(runner) as archive:
        entry = archive.getinfo("bundles/0/eval.jsonl")
    content[entry.header_offset + 200] ^= 1
    target.write_bytes(content)


def rewrite(runner: Path, target: Path) -> None:
    """Exchange a file inside, with a checksum that fits."""
    with zipfile.ZipFile(runner) as archive, zipfile.ZipFile(target, "w") as changed:
        for entry in archive.infolist():
            more = b"#" if entry.filename == "hrkd_bench/measurement/measure.py" else b""
            changed.writestr(entry, archive.read(entry) + more)


@pytest.mark.parametrize(("change", "words"), [(flip, "copy this file again"), (rewrite, "measure.py in damaged.pyz")])
def test_a_damaged_copy_is_refused(
    runner: Path, tmp_path: Path, change: Callable[[Path, Path], None], words: str
) -> None:
    """Prevents a model that a memory stick has changed from being measured, and a traceback about it."""
    change(runner, tmp_path / "damaged.pyz")
    done = start(tmp_path / "damaged.pyz", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert words in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["damaged.pyz"]


def test_an_emulator_gives_answers_and_no_times(answered: bytes, bundle: Path) -> None:
    """Prevents the speed of an emulator from being published as that of a device."""
    value = json.loads(answered)
    assert value["session"] is None
    measured = Measured(parse_result(answered, "it"), [bundle])
    with pytest.raises(BenchError, match="is emulated"):
        measured.document()
    [compared] = compare_answers(measured)
    assert compared.agreement == 1.0
    assert compared.largest_logit_difference < 1e-5
    assert compared.same_tokens
    assert compared.device == compared.here
    assert compared.texts == 24


def test_a_flipped_answer_is_found(answered: bytes, bundle: Path) -> None:
    """Prevents an agreement of 100 % that was never computed."""
    value = json.loads(answered)
    value["answers"][0]["logits"][3].reverse()
    [compared] = compare_answers(Measured(parse_result(json.dumps(value).encode(), "it"), [bundle]))
    assert compared.different == [3]
    assert compared.agreement == 23 / 24
    assert compared.largest_margin_of_different is not None
    assert compared.largest_logit_difference > 0.1


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda value: value.update(schema_version=2), "schema version 2"),
        (lambda value: value.update(surprise=1), "`surprise`"),
        (lambda value: value.update(answers=None), "neither times nor"),
        (lambda value: value.update(emulation=None), "neither times nor"),
        (lambda value: value["answers"].clear(), "answered for 0 bundles"),
        (lambda value: value["answers"][0]["logits"].pop(), "did not answer 24 texts"),
        (lambda value: value["answers"][0]["logits"][0].append(1.0), "did not answer 24 texts"),
        (lambda value: value["answers"][0]["logits"][0].__setitem__(0, float("nan")), "finite"),
        (lambda value: value["files"].update({"hrkd/shape.py": "0"}), "shape.py` was changed on the device"),
        (lambda value: value["files"].popitem(), "was changed on the device"),
        (lambda value: value["plan"]["settings"].update(rounds="many"), "damaged"),
        (lambda value: value["environment"].pop("cpu"), "damaged"),
        (lambda value: value["plan"].update(num_baselines=1), "measured 1 bundles, 1 of them baselines"),
    ],
)
def test_a_damaged_result_is_refused(answered: bytes, bundle: Path, change: Change, words: str) -> None:
    """Prevents a cut, edited or foreign file from becoming a row of the report."""
    value = json.loads(answered)
    change(value)
    with pytest.raises(BenchError, match=words):
        compare_answers(Measured(parse_result(json.dumps(value).encode(), "it"), [bundle]))


def test_a_processor_that_computes_nothing_is_refused(answered: bytes) -> None:
    """Prevents a traceback about a division by the rate of a damaged result."""
    value = json.loads(answered) | {"emulation": None, "answers": None, "session": {}}
    with pytest.raises(BenchError, match="computes nothing"):
        parse_result(json.dumps(value | {"rates": {"fp32": 1e9, "int8": 0.0}}).encode(), "it")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_what_is_no_result_is_refused(content: bytes) -> None:
    """Prevents a traceback on the wrong file."""
    with pytest.raises(BenchError, match=r"is not JSON|schema version"):
        parse_result(content, "it")


def test_another_bundle_is_refused(answered: bytes, tmp_path: Path) -> None:
    """Prevents the device's numbers of one model from being shown as another's."""
    make_bundle(tmp_path / "other", per_domain=12, noise=0.3)
    with pytest.raises(BenchError, match=r"its model\.onnx is another one"):
        Measured(parse_result(answered, "it"), [tmp_path / "other"])


def test_other_texts_are_not_merged(measured: dict[str, Any]) -> None:
    """Prevents two machines from being compared on different questions, and a row from appearing twice."""
    other = json.loads(json.dumps(measured))
    other["texts"]["sha256"] = "0"
    with pytest.raises(BenchError, match="other texts"):
        with_device(measured, other, "pi")
    once = with_device(measured, measured, "pi")
    with pytest.raises(BenchError, match="already"):
        with_device(once, measured, "pi")
    assert len(read_document(with_device(once, measured, "nano")).results) == 3 * len(measured["results"])


def test_a_module_that_a_device_cannot_have_is_caught_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents an import of a third library from being found out on the device."""
    monkeypatch.setattr(closure, "ON_A_DEVICE", closure.ON_A_DEVICE - {"tokenizers"})
    with pytest.raises(BenchError, match=r"`hrkd_bench\.runtime` imports `tokenizers`"):
        closure.device_files()


def test_what_is_started_by_name_travels_as_well() -> None:
    """Prevents a runner without its workers: import statements do not name them."""
    files = closure.device_files()
    started = {f"hrkd_bench/measurement/{name}.py" for name in ("worker", "memory_use")}
    assert {"hrkd_bench/runtime.py"} | started <= set(files)
    assert not any(name.startswith(("hrkd/recipe", "hrkd/models", "hrkd_bench/bench.py")) for name in files)


def test_only_bundles_travel(bundle: Path, tmp_path: Path) -> None:
    """Prevents a folder of PyTorch weights from being sent to a device that cannot run it."""
    [subject] = recognise([bundle], [])
    with pytest.raises(BenchError, match="runs with pytorch"):
        pack(tmp_path / "runner.pyz", [replace(subject, engine="pytorch")], [], QUICK)
    assert not (tmp_path / "runner.pyz").exists()

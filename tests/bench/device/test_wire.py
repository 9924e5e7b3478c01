"""Sessions that travel, emulators that show, and a line that goes quiet."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hrkd.shape import ShapeError
from hrkd_bench.bench import recognise
from hrkd_bench.device.emulation import find_emulation
from hrkd_bench.device.wire import session_from_json, session_to_json
from hrkd_bench.examples import choose, read_examples
from hrkd_bench.measurement.measure import measure
from hrkd_bench.measurement.samples import Session
from hrkd_bench.subjects import Subject
from ssh_server import QUICK

ROOT = Path(__file__).resolve().parents[3]
CONFIG = QUICK.model_copy(update={"rounds": 2, "lengths": (6,), "rate": 300.0, "rate_seconds": 0.2})
NUM_TEXTS = 24
TIMED = ("tokenize_ms", "run_ms", "post_ms", "end_to_end_ms")


@pytest.fixture(scope="module")
def subjects(bundle: Path) -> list[Subject]:
    return recognise([bundle], [])


@pytest.fixture(scope="module")
def session(subjects: list[Subject]) -> Session:
    """A real session with everything that one can hold, but minutes."""
    [subject] = subjects
    texts = read_examples(subject.path, subject.label_names, subject.domain_names)
    return measure(subjects, texts, choose(texts, None, 0), CONFIG, lambda *_: None)


@pytest.fixture
def value(session: Session) -> dict[str, Any]:
    """The session as it travels; a test may change it."""
    return copy.deepcopy(json.loads(json.dumps(session_to_json(session), allow_nan=False)))


def test_a_session_survives_the_way(session: Session, subjects: list[Subject], value: dict[str, Any]) -> None:
    """Prevents a time or an answer that is lost, rounded or moved to another text on its way from the device."""
    there = session_from_json(value, subjects, NUM_TEXTS)
    assert session_to_json(there) == session_to_json(session)
    assert (there.before, there.after) == (session.before, session.after)
    [came], [went] = there.measurements, session.measurements
    assert came.subject is subjects[0]
    assert came.cold_starts == went.cold_starts
    assert came.resources == went.resources
    for name in ("text", "round", "run_ms", "end_to_end_ms", "tokens", "logits"):
        np.testing.assert_array_equal(getattr(came.samples, name), getattr(went.samples, name))
    assert came.samples.text.dtype == went.samples.text.dtype
    assert came.open_loop is not None
    assert went.open_loop is not None
    np.testing.assert_array_equal(came.open_loop.ends, went.open_loop.ends)
    assert list(came.lengths_ms) == [6]


def samples(value: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = value["measurements"][0]["samples"]
    return found


def nest(found: dict[str, Any], *names: str) -> None:
    """Turn arrays into arrays of one row."""
    found.update({name: [found[name]] for name in names})


def open_loop(value: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = value["measurements"][0]["open_loop"]
    return found


def set_minutes(*minutes: tuple[list[float], int, float]) -> Callable[[Any], object]:
    """Return what puts minutes of (blocks, answers, median) into a session."""
    names = ("blocks_ms", "samples", "median_ms", "temperature_c", "frequency_mhz")
    written = [dict(zip(names, (*minute, None, None), strict=True)) for minute in minutes]
    return lambda value: value["measurements"][0].update(minutes=written)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda value: value.pop("before"), "before"),
        (lambda value: value["measurements"].clear(), "one of each subject"),
        (lambda value: value["measurements"][0].update(subject=1), "number of a subject"),
        (lambda value: value["measurements"][0].update(subject="evil"), "number of a subject"),
        (lambda value: value["measurements"][0].update(cold_starts=[]), "cold_starts"),
        (lambda value: samples(value)["logits"].pop(), "shape"),
        (lambda value: samples(value)["logits"][0].pop(), "equally many"),
        (lambda value: samples(value)["tokens"].pop(), "24 items"),
        (lambda value: samples(value)["run_ms"].pop(), "as many times as texts"),
        (lambda value: samples(value)["text"].__setitem__(0, 24), "each of the 24 texts"),
        (lambda value: samples(value)["text"].__setitem__(0, 0.5), "list of numbers"),
        (lambda value: samples(value)["text"].__setitem__(0, 10**30), "8 bytes"),
        (lambda value: samples(value)["run_ms"].__setitem__(0, float("nan")), "finite"),
        (lambda value: samples(value)["run_ms"].__setitem__(0, -1.0), "above 0"),
        (lambda value: samples(value)["run_ms"].__setitem__(0, "1"), "list of numbers"),
        (lambda value: samples(value).update(end_to_end_ms="fast"), "a list"),
        (lambda value: nest(samples(value), "text", "round", *TIMED), "as many times as texts"),
        (lambda value: value["measurements"][0].update(size_bytes=0), "as the bundle has"),
        (lambda value: value["measurements"][0].update(throughput_per_s=0.0), "above 0"),
        (lambda value: value["measurements"][0].update(lengths_ms={"16": []}), "lengths_ms.16"),
        (lambda value: value["measurements"][0].update(lengths_ms={"16": [[]]}), "lengths_ms.16"),
        (lambda value: value["measurements"][0].update(lengths_ms={"16": [[[1.0], [2.0]]]}), "lengths_ms.16"),
        (lambda value: value["measurements"][0].update(lengths_ms={"16": [[0.0]]}), "lengths_ms.16"),
        (lambda value: value["measurements"][0]["lengths_ms"].update({"16": [[1.0]]}), "equally many rounds"),
        (lambda value: open_loop(value).update(starts=[], ends=[]), "1 of them at least"),
        (lambda value: open_loop(value)["starts"].pop(), "a start and an end"),
        (lambda value: open_loop(value).update(arrivals=[]), "a start and an end"),
        (lambda value: open_loop(value)["ends"].reverse(), "in order"),
        (lambda value: open_loop(value).update(arrivals=[0.0], starts=[0.0], ends=[0.0]), "above 0"),
        (lambda value: open_loop(value).update(rate=0.0), "rate"),
        (set_minutes(), "minutes"),
        (set_minutes(([], 1, 1.0)), "stretches"),
        (set_minutes(([1.0, 1.0], 1, 1.0), ([1.0], 1, 1.0)), r"minutes\.1"),
        (set_minutes(([1.0, 0.0], 1, 1.0)), "above 0"),
    ],
)
def test_a_damaged_session_is_refused(
    subjects: list[Subject], value: dict[str, Any], change: Callable[[Any], object], words: str
) -> None:
    """Prevents a device's mistake, or somebody's editor, from becoming a number of the report."""
    change(value)
    with pytest.raises(ShapeError, match=words):
        session_from_json(value, subjects, NUM_TEXTS)


def test_sessions_of_other_subjects_are_refused(subjects: list[Subject], value: dict[str, Any]) -> None:
    """Prevents the rows of two bundles from being exchanged."""
    with pytest.raises(ShapeError, match="one of each subject"):
        session_from_json(value, [*subjects, replace(subjects[0], name="other")], NUM_TEXTS)


def test_other_rounds_of_a_second_subject_are_refused(subjects: list[Subject], value: dict[str, Any]) -> None:
    """Prevents a traceback where rounds are compared, and rounds that are compared with others."""
    second = copy.deepcopy(value["measurements"][0]) | {"subject": 1}
    value["measurements"].append(second)
    both = [*subjects, replace(subjects[0], name="other")]
    assert len(session_from_json(value, both, NUM_TEXTS).measurements) == 2
    second["samples"]["round"] = [0] * len(second["samples"]["round"])
    with pytest.raises(ShapeError, match="rounds of the first subject"):
        session_from_json(value, both, NUM_TEXTS)


def test_minutes_survive_the_way(subjects: list[Subject], value: dict[str, Any]) -> None:
    """Prevents sustained work from being refused as damaged."""
    set_minutes(([1.0, 2.0], 9, 1.5))(value)
    [came] = session_from_json(value, subjects, NUM_TEXTS).measurements
    assert came.minutes is not None
    assert came.minutes[0].blocks_ms == [1.0, 2.0]


ARM = "processor : 0\nCPU implementer : 0x41\nCPU architecture: 8\nCPU part : 0xd08\n"
X86 = "processor : 0\nvendor_id : GenuineIntel\ncpu family : 6\n"


@pytest.mark.parametrize(
    ("machine", "cpuinfo", "program", "found"),
    [
        ("aarch64", ARM, "/usr/bin/python3.11", None),
        ("x86_64", X86, "/usr/bin/python3.11", None),
        ("aarch64", X86, "/usr/bin/python3.11", "another kind"),
        ("x86_64", ARM, "/usr/bin/python3.11", "another kind"),
        ("aarch64", ARM, "/usr/bin/qemu-aarch64-static", "run by qemu-aarch64-static"),
        ("riscv64", "", "/usr/bin/qemu-riscv64", "run by qemu-riscv64"),
    ],
)
def test_an_emulator_is_recognised(tmp_path: Path, machine: str, cpuinfo: str, program: str, found: str | None) -> None:
    """Prevents an emulator's times from being taken for a device's, and a device from being taken for an emulator."""
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "exe").symlink_to(program)
    answer = find_emulation(tmp_path / "cpuinfo", tmp_path, machine, 7)
    assert answer is None if found is None else found in str(answer)


@pytest.mark.parametrize(("said", "found"), [("1", True), ("0", False), ("", False)])
def test_rosetta_is_recognised(tmp_path: Path, said: str, found: bool) -> None:
    """Prevents the times of a translated Python from being published as those of a Mac."""
    program = tmp_path / "sysctl"
    program.write_text(f'#!/bin/sh\n[ "$*" = "-n sysctl.proc_translated" ] && echo {said}\n')
    program.chmod(0o755)
    answer = find_emulation(tmp_path / "cpuinfo", tmp_path, "x86_64", 7, system="Darwin", sysctl=program)
    assert answer == ("translated by Rosetta" if found else None)
    assert find_emulation(tmp_path / "cpuinfo", tmp_path, "x86_64", 7, system="Linux", sysctl=program) is None


def test_a_mac_without_that_program_is_real(tmp_path: Path) -> None:
    """Prevents a traceback before the measurement, on a system that lacks it or does not know the name."""
    absent, failing = tmp_path / "absent", tmp_path / "failing"
    failing.write_text("#!/bin/sh\necho unknown oid >&2\nexit 1\n")
    failing.chmod(0o755)
    for program in (absent, failing):
        assert find_emulation(absent, tmp_path, "arm64", 7, system="Darwin", sysctl=program) is None


def test_this_machine_is_real() -> None:
    """Prevents every measurement from being refused."""
    assert find_emulation() is None


@pytest.mark.parametrize("quiet", [True, False])
def test_a_device_stops_when_nobody_listens_any_more(quiet: bool) -> None:
    """Prevents a measurement that goes on for hours after a cable was pulled, which sends no goodbye."""
    script = "import time; from hrkd_bench.device.channel import watch_connection as w; w(0.3); time.sleep(30)"
    paths = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", script], stdin=subprocess.PIPE, env={**os.environ, "PYTHONPATH": paths}
    )
    assert process.stdin is not None
    if not quiet:
        process.stdin.close()
    assert process.wait(timeout=25) != 0
    process.stdin.close()

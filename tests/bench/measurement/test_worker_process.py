"""The child process: what it answers, and what is said when it goes wrong."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

import hrkd
import hrkd_bench
from hrkd.bundle import EVAL
from hrkd.errors import ArtifactError, BenchError
from hrkd.recipe import BenchConfig
from hrkd_bench.bench import bench
from hrkd_bench.engines import ENGINES, Engine
from hrkd_bench.measurement.process import WorkerProcess, worker_environment
from hrkd_bench.subjects import Subject, subject_of
from tiny_bundle import make_bundle, make_examples

EXAMPLE = make_examples(("books", "films"), 2)[0]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    make_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture
def misbehaving(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Subject:
    """A bundle whose engine a test replaces by one of misbehaving.py."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    return subject_of(bundle)


def use(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(ENGINES, "onnxruntime", Engine(f"misbehaving:{name}", ("numpy",), "edge"))


def test_answers_of_a_real_bundle(bundle: Path) -> None:
    """Prevents times that do not add up and logits of another text than asked for."""
    with WorkerProcess(subject_of(bundle), threads=1) as worker:
        loaded = worker.load(EXAMPLE)
        assert worker.ask("open", examples=str(bundle / EVAL)) == {"texts": 40}
        answer = worker.ask("run", indices=[3, 0, 3])
        memory = worker.ask("memory")["peak_rss_bytes"]
        throughput = worker.ask("throughput", indices=list(range(40)), batch_size=16)
    assert loaded["label_names"] == ["neg", "pos"]
    assert loaded["import_s"] + loaded["load_s"] + loaded["first_s"] < loaded["cold_start_s"] < 60
    assert answer["logits"][0] == answer["logits"][2] != answer["logits"][1]
    for parts in zip(answer["tokenize_ns"], answer["run_ns"], answer["post_ns"], answer["end_to_end_ns"]):
        assert min(parts) > 0
        assert sum(parts[:3]) == parts[3]
    assert all(tokens >= 3 for tokens in answer["tokens"])
    assert 10**7 < memory < 10**9
    assert throughput["texts"] == 40


def test_printing_libraries_do_not_disturb(misbehaving: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents a library's greeting on stdout from being read as an answer."""
    use(monkeypatch, "Talkative")
    with WorkerProcess(misbehaving, threads=3) as worker:
        assert worker.load(EXAMPLE)["size_bytes"] == 1
        said = worker._stderr_tail()
    assert "a library says hello" in said
    assert "and so does its C part" in said
    assert "threads 3, 3" in said


@pytest.mark.parametrize(
    ("name", "words", "hint"),
    [
        ("Crashing", r"exit code 1 during `load`(?s:.*)ZeroDivisionError: the fifth wheel", None),
        ("Killed", r"SIGKILL during `load`(?s:.*)about to allocate", "memory"),
        ("Refusing", "the moon is in the wrong house", "wait a week"),
    ],
)
def test_death_is_explained(
    misbehaving: Subject, monkeypatch: pytest.MonkeyPatch, name: str, words: str, hint: str | None
) -> None:
    """Prevents "broken pipe" as the only word about a child that crashed or ran out of memory."""
    use(monkeypatch, name)
    with WorkerProcess(misbehaving, threads=1) as worker, pytest.raises(BenchError, match=words) as caught:
        worker.load(EXAMPLE)
    assert str(misbehaving.path) in caught.value.message
    assert hint is None or hint in str(caught.value.hint)


def test_a_hanging_engine_is_ended(misbehaving: Subject, monkeypatch: pytest.MonkeyPatch, bundle: Path) -> None:
    """Prevents a measurement that waits for ever, and a child that outlives it."""
    use(monkeypatch, "Hanging")
    start = time.monotonic()
    with WorkerProcess(misbehaving, threads=1) as worker, pytest.raises(BenchError, match="no answer to `load` within"):
        worker.ask(
            "load",
            timeout=1.5,
            classifier="misbehaving:Hanging",
            libraries=[],
            path=str(bundle),
            threads=1,
            text="a",
            text_pair=None,
        )
    assert time.monotonic() - start < 20
    assert worker._process.poll() is not None


def test_an_end_by_the_timer_is_not_called_a_lack_of_memory(
    misbehaving: Subject, monkeypatch: pytest.MonkeyPatch, bundle: Path
) -> None:
    """Prevents people from buying memory for an engine that hangs: the timer's thread may end after its victim."""
    use(monkeypatch, "Hanging")
    with WorkerProcess(misbehaving, threads=1) as worker:
        kill = worker._process.kill

        def kill_and_linger() -> None:
            kill()
            time.sleep(0.5)

        monkeypatch.setattr(worker._process, "kill", kill_and_linger)
        with pytest.raises(BenchError, match="no answer to `load` within") as caught:
            worker.load(EXAMPLE, timeout=1.0)
    assert caught.value.hint is None


def test_ctrl_c_goes_to_the_parent_alone(bundle: Path) -> None:
    """Prevents children that print tracebacks over the one message about the interruption."""
    with WorkerProcess(subject_of(bundle), threads=1) as worker:
        assert os.getpgid(worker._process.pid) != os.getpgid(0)


def test_the_child_runs_the_parents_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents a checkout from measuring with an older installed version of itself, and a lost PYTHONPATH."""
    monkeypatch.setenv("PYTHONPATH", "mine")
    roots = worker_environment(1)["PYTHONPATH"].split(os.pathsep)
    assert roots[-1] == "mine"
    assert {Path(hrkd.__file__).parents[1], Path(hrkd_bench.__file__).parents[1]} == set(map(Path, roots[:-1]))


def test_leaving_ends_the_process(bundle: Path) -> None:
    """Prevents orphans after Ctrl-C or an error in another subject."""
    with pytest.raises(KeyboardInterrupt), WorkerProcess(subject_of(bundle), threads=1) as worker:
        raise KeyboardInterrupt
    assert worker._process.poll() is not None


@pytest.mark.parametrize(
    ("name", "words"), [("NotANumber", "NaN or infinity"), ("OtherLabels", "other domains or lab")]
)
def test_nonsense_is_not_measured(
    misbehaving: Subject, monkeypatch: pytest.MonkeyPatch, bundle: Path, name: str, words: str
) -> None:
    """Prevents an accuracy computed from NaN, or with two labels exchanged."""
    use(monkeypatch, name)
    with pytest.raises(BenchError, match=words):
        bench([bundle], config=BenchConfig(rounds=1, warmup_texts=2, min_samples=1, min_seconds=0, lengths=()))


def test_a_bundle_changed_after_the_check_is_refused_by_the_child(bundle: Path) -> None:
    """Prevents measuring what was verified before, not what is loaded."""
    subject = subject_of(bundle)
    (bundle / "model.onnx").write_bytes(b"other")
    with WorkerProcess(subject, threads=1) as worker, pytest.raises(BenchError, match="was changed"):
        worker.load(EXAMPLE)
    with pytest.raises(ArtifactError, match="was changed"):
        subject_of(bundle)

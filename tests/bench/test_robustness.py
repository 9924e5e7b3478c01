"""What a measurement must survive: half an answer, sparse evaluation lines, faultless domains, repetition."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hrkd.artifact import read_json, write_json
from hrkd.bundle import EVAL, MANIFEST, describe_files, open_bundle, read_eval
from hrkd.errors import BenchError
from hrkd.recipe import BenchConfig
from hrkd.shape import to_json
from hrkd.significance import wilson_interval
from hrkd_bench.bench import bench
from hrkd_bench.document.schema import BenchDocument, read_document
from hrkd_bench.examples import choose, read_examples
from hrkd_bench.measurement import process
from hrkd_bench.measurement.process import WorkerProcess
from hrkd_bench.report.figures import accuracy_figure
from hrkd_bench.subjects import subject_of
from tiny_bundle import LABELS, VOCABULARY, head_biases, make_bundle, token_weights

QUICK = BenchConfig(rounds=2, warmup_texts=2, cold_starts=1, min_samples=1, min_seconds=0, lengths=())
NOISE = 0.7


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    make_bundle(tmp_path / "bundle", noise=NOISE, per_domain=20)
    return tmp_path / "bundle"


def graph_answers(folder: Path) -> tuple[list[str], list[str], list[str]]:
    """Return labels computed with numpy from the graph's constants, true labels, and domains."""
    manifest = open_bundle(folder)
    answers, labels, domains = [], [], []
    for example in read_eval(folder, manifest):
        tokens = ["[CLS]", *example.text.split()[: manifest.max_length - 2], "[SEP]"]
        scores = token_weights(NOISE)[[VOCABULARY.index(token) for token in tokens]].sum(axis=0)
        scores = scores + head_biases(len(manifest.domain_names))[manifest.domain_names.index(example.domain)]
        answers.append(LABELS[int(scores.argmax())])
        labels.append(example.label)
        domains.append(example.domain)
    return answers, labels, domains


def test_accuracy_is_an_independent_count(bundle: Path) -> None:
    """Prevents tokeniser, padding, domain ids or shuffling from changing answers for runtime and test alike."""
    [result] = bench([bundle], config=QUICK)["results"]
    answers, labels, domains = graph_answers(bundle)
    for domain, accuracy in result["accuracy"]["domains"].items():
        right = [a == l for a, l, d in zip(answers, labels, domains) if d == domain]  # noqa: E741
        assert accuracy == pytest.approx(np.mean(right))
        assert 0.4 < accuracy < 1.0
    assert len(set(result["accuracy"]["domains"].values())) > 1


def test_half_an_answer_is_a_death(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents a JSON traceback when the child is killed in the middle of a long answer."""
    script = tmp_path / "half"
    script.write_text("#!/bin/sh\nread -r line\nprintf '{\"logits\": [[0.1'\necho out of memory >&2\nexit 3\n")
    script.chmod(0o755)
    monkeypatch.setattr(process.sys, "executable", str(script))
    with (
        WorkerProcess(subject_of(bundle), threads=1) as worker,
        pytest.raises(BenchError, match=r"exit code 3 during `run`(?s:.*)out of memory"),
    ):
        worker.ask("run", indices=[0])


def test_a_child_killed_from_outside_is_reported_at_once(bundle: Path) -> None:
    """Prevents ten minutes of waiting for a process that the system has ended."""
    with WorkerProcess(subject_of(bundle), threads=1) as worker:
        worker.ask("memory")
        os.kill(worker._process.pid, signal.SIGSTOP)  # so that it is waiting, not answering, when it is killed
        timer = threading.Timer(0.2, worker._process.kill)
        timer.start()
        start = time.monotonic()
        with pytest.raises(BenchError, match="SIGKILL during `memory`") as caught:
            worker.ask("memory")
        assert time.monotonic() - start < 10
        timer.join()
    assert "memory ran out" in str(caught.value.hint)


def test_evaluation_lines_without_the_optional_key_are_measured(bundle: Path) -> None:
    """Prevents a child's KeyError about lines that every check has passed: `text_pair` may be left out."""
    rows = [json.loads(line) for line in (bundle / EVAL).read_text(encoding="utf-8").splitlines()]
    assert all(row.pop("text_pair") is None for row in rows)
    (bundle / EVAL).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    files = {name: to_json(file) for name, file in describe_files(bundle).items()}
    write_json(bundle / MANIFEST, read_json(bundle / MANIFEST) | {"files": files})
    document = bench([bundle], config=QUICK.model_copy(update={"max_texts": 4}))
    assert document["texts"]["count"] == 4


def test_a_faultless_domain_of_any_size_is_drawn(document: dict[str, Any]) -> None:
    """Prevents a report that cannot be made because rounding puts a bound of the interval beyond 100 %."""
    pytest.importorskip("matplotlib")
    for trials in (4, 10, 14, 19, 50):
        for hits in (0, trials):
            for result in document["results"]:
                accuracy = result["accuracy"]
                accuracy["domains"] = dict.fromkeys(accuracy["domains"], hits / trials)
                accuracy["domain_intervals"] = dict.fromkeys(accuracy["domains"], wilson_interval(hits, trials))
            parsed = read_document(document)
            assert "<svg" in accuracy_figure(parsed.results, list(parsed.texts.domains))


def test_the_choice_of_texts_is_the_same_every_time(bundle: Path) -> None:
    """Prevents two measurements of "the same" sample from being compared although they saw other texts."""
    manifest = open_bundle(bundle)
    texts = read_examples(bundle, manifest.label_names, manifest.domain_names)
    chosen = [choose(texts, 12, seed).tolist() for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]
    assert np.bincount(texts.domains[chosen[0]]).tolist() == [6, 6]


def test_the_document_survives_json_as_a_model(measured: dict[str, Any]) -> None:
    """Prevents a bench.json that this very version cannot read back number by number."""
    parsed = BenchDocument.model_validate(measured)
    assert BenchDocument.model_validate_json(parsed.model_dump_json()) == parsed
    assert BenchDocument.model_validate(json.loads(json.dumps(parsed.model_dump(mode="json")))) == parsed


def test_the_same_folder_through_a_link_is_refused(bundle: Path, tmp_path: Path) -> None:
    """Prevents a bundle from being its own baseline under a second name."""
    (tmp_path / "link").symlink_to(bundle, target_is_directory=True)
    with pytest.raises(BenchError, match="given twice"):
        bench([bundle], baselines=[tmp_path / "link"], config=QUICK)


def test_too_few_texts_are_refused_before_anything_starts(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents a domain without a single text, or a wait for an error that was certain from the start."""
    monkeypatch.setattr(sys.modules["hrkd_bench.bench"], "measure", pytest.fail)
    with pytest.raises(BenchError, match="fewer than the 2 domains"):
        bench([bundle], config=QUICK.model_copy(update={"max_texts": 1}))

"""One measurement from end to end: what stands in bench.json, and that it is right."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

import hrkd_bench.machine.facts
from hrkd.bundle import open_bundle, read_eval
from hrkd.errors import ArtifactError
from hrkd.recipe import BenchConfig
from hrkd_bench.bench import bench
from hrkd_bench.document.schema import read_document
from hrkd_bench.runtime import Classifier

DOMAINS = ("books", "films", "phones")
NUMBER = (int, float)
PERCENTILES = {
    "p50": NUMBER,
    "p90": (*NUMBER, type(None)),
    "p95": (*NUMBER, type(None)),
    "p99": (*NUMBER, type(None)),
    "n": int,
}
RESULT_KEYS: dict[str, Any] = {
    "name": str,
    "role": str,
    "engine": str,
    "precision": str,
    "size_bytes": int,
    "threads": int,
    "latency_ms": {"end_to_end": PERCENTILES, "tokenize": PERCENTILES, "run": PERCENTILES},
    "cold_start_ms": NUMBER,
    "peak_rss_bytes": int,
    "throughput_per_s": NUMBER,
    "accuracy": {"average": NUMBER, "worst": NUMBER, "domains": dict},
    "agreement_with_teacher": NUMBER,
    "valid": bool,
    "model_sha256": str,
}
"""What the design promises to readers of bench.json. Keys may be added, never removed or renamed."""


def check_keys(value: Any, expected: Any, where: str) -> None:
    if isinstance(expected, dict):
        assert isinstance(value, dict), where
        for key, inner in expected.items():
            assert key in value, f"{where}.{key}"
            check_keys(value[key], inner, f"{where}.{key}")
    else:
        assert isinstance(value, expected), f"{where} is {value!r}"


def test_the_promised_keys(measured: dict[str, Any]) -> None:
    """Prevents a renamed key, which other people's dashboards would read as missing."""
    assert measured["schema_version"] == 1
    assert measured["environment"]["cpu"]
    assert len(measured["results"]) == 2
    for result in measured["results"]:
        check_keys(result, RESULT_KEYS, result["name"])
    assert json.loads(json.dumps(measured, allow_nan=False)) == measured
    assert read_document(measured).model_dump(mode="json") == measured


def test_rows_are_what_was_given(measured: dict[str, Any], bundles: dict[str, Path]) -> None:
    """Prevents two subjects' numbers from being exchanged."""
    teacher, student = measured["results"]
    assert [(row["name"], row["role"], row["precision"]) for row in (teacher, student)] == [
        ("big", "teacher", "fp32"),
        ("small", "student", "int8"),
    ]
    for row, key in ((teacher, "teacher"), (student, "student")):
        manifest = open_bundle(bundles[key])
        assert row["size_bytes"] == manifest.size_bytes
        assert row["model_sha256"] == manifest.model_sha256


def test_accuracy_is_that_of_the_answers(measured: dict[str, Any], bundles: dict[str, Path]) -> None:
    """Prevents answers and labels from drifting apart through shuffling, chunks and rounds."""
    examples = read_eval(bundles["student"], open_bundle(bundles["student"]))
    classifier = Classifier.load(bundles["student"])
    answers = classifier([example.text for example in examples], [example.domain for example in examples])
    accuracy = measured["results"][1]["accuracy"]
    for domain, expected in accuracy["domains"].items():
        right = [
            answer.label == example.label for answer, example in zip(answers, examples) if example.domain == domain
        ]
        assert len(right) == 50
        assert expected == pytest.approx(sum(right) / len(right))
    assert 0.5 < accuracy["average"] < 1.0
    assert accuracy["average"] == pytest.approx(sum(accuracy["domains"].values()) / 3)
    assert accuracy["domains"][accuracy["worst_domain"]] == accuracy["worst"] == min(accuracy["domains"].values())
    parts = []
    for domain in DOMAINS:
        pairs = [(a.label, e.label) for a, e in zip(answers, examples) if e.domain == domain]
        for label in classifier.label_names:
            hits = sum(pair == (label, label) for pair in pairs)
            parts.append(2 * hits / sum(pair.count(label) for pair in pairs))
    assert accuracy["macro_f1"] == pytest.approx(sum(parts) / len(parts))
    assert accuracy["macro_f1"] != pytest.approx(accuracy["average"])
    taught = [int(example.teacher_logits[1] > example.teacher_logits[0]) for example in examples]
    agrees = [classifier.label_names[label] == answer.label for label, answer in zip(taught, answers)]
    assert measured["results"][1]["agreement_with_teacher"] == pytest.approx(sum(agrees) / len(agrees))


def test_times_are_consistent(measured: dict[str, Any]) -> None:
    """Prevents nanoseconds called milliseconds, and parts longer than the whole."""
    for result in measured["results"]:
        latency = result["latency_ms"]
        for part in ("tokenize", "run", "post"):
            assert 0 < latency[part]["p50"] <= latency["end_to_end"]["p50"]
        assert sum(result["samples_ms"]) / 1000 < time.time() - psutil.Process().create_time()
        assert latency["end_to_end"]["p99"] is not None
        assert latency["end_to_end"]["n"] == 5 * 150 >= measured["config"]["min_samples"]
        assert len(result["samples_ms"]) == measured["texts"]["count"] == 150
        parts = result["cold_start"]
        assert parts["import_ms"] + parts["load_ms"] + parts["first_ms"] < result["cold_start_ms"]


def test_the_comparison(measured: dict[str, Any]) -> None:
    """Prevents ratios the wrong way round."""
    teacher, student = measured["results"]
    [comparison] = measured["comparisons"]
    assert (comparison["subject"], comparison["baseline"]) == ("small", "big")
    assert comparison["size_ratio"] == pytest.approx(teacher["size_bytes"] / student["size_bytes"])
    assert comparison["size_ratio"] > 10
    difference = comparison["accuracy_difference"]
    assert difference["value"] == pytest.approx(student["accuracy"]["average"] - teacher["accuracy"]["average"])
    assert difference["low"] < difference["value"] < difference["high"] < 0
    assert comparison["retained_accuracy"] == pytest.approx(student["accuracy"]["average"])
    assert comparison["agreement"] < 1
    rounds = comparison["speedup_rounds"]
    assert math.isclose(comparison["speedup_p50"]["value"], math.prod(rounds) ** (1 / len(rounds)), rel_tol=1e-3)
    assert len(comparison["speedup_rounds"]) == measured["config"]["rounds"] == 2
    low, high = sorted(comparison["speedup_rounds"])
    assert low <= comparison["speedup_p50"]["value"] <= high
    assert comparison["speedup_p50"]["low"] <= low
    assert comparison["speedup_p50"]["high"] >= high
    assert comparison["verdict"] in ("FASTER", "SLOWER", "NOT SIGNIFICANT")
    assert comparison["smallest_difference"] == 0.03


def test_every_answer_is_kept(measured: dict[str, Any]) -> None:
    """Prevents a document from which nobody can compute another statistic, and parts that belong to other answers."""
    for result in measured["results"]:
        samples = result["samples"]
        assert {len(column) for column in samples.values()} == {750}
        assert sorted(samples["text"]) == sorted(list(range(150)) * 5)
        assert set(samples["round"]) == {0, 1}
        parts = zip(*(samples[f"{name}_ms"] for name in ("tokenize", "run", "post", "end_to_end")))
        assert all(abs(sum(part[:3]) - part[3]) < 0.001 for part in parts)
        own = [time for text, time in zip(samples["text"], samples["end_to_end_ms"]) if text == 7]
        assert result["samples_ms"][7] == pytest.approx(statistics.median(own), abs=0.001)
        assert len(result["cold_start"]["samples_ms"]) == 3


def test_domains_of_the_comparison(measured: dict[str, Any], bundles: dict[str, Path]) -> None:
    """Prevents a loss in one domain from hiding in the average, and a sign the wrong way round."""
    teacher, student = measured["results"]
    domains = measured["comparisons"][0]["domains"]
    assert {domain["domain"] for domain in domains} == set(DOMAINS)
    assert domains == sorted(domains, key=lambda domain: domain["difference"]["value"])
    for domain in domains:
        name = domain["domain"]
        expected = student["accuracy"]["domains"][name] - teacher["accuracy"]["domains"][name]
        difference = domain["difference"]
        assert difference["value"] == pytest.approx(expected) == (domain["gained"] - domain["lost"]) / 50
        assert difference["low"] < difference["value"] < difference["high"]
        assert domain["gained"] == 0 < domain["lost"]
        assert domain["p_value"] == pytest.approx(min(1.0, 2 * 0.5 ** domain["lost"]))
    lost = sum(domain["lost"] for domain in domains)
    assert measured["comparisons"][0]["p_value"] == pytest.approx(2 * 0.5**lost)
    for result in (teacher, student):
        accuracy = result["accuracy"]
        assert accuracy["macro_f1"] == pytest.approx(sum(accuracy["domain_macro_f1"].values()) / 3)
        assert 0 < accuracy["calibration_error"] < 1


def test_fixed_lengths_are_cut_to_what_the_model_reads(measured: dict[str, Any]) -> None:
    """Prevents a latency "at 64 tokens" of a model that reads 16."""
    for result in measured["results"]:
        assert [row["tokens"] for row in result["by_length"]] == [6, 10, 16]
        assert all(0 < row["p50"]["low"] <= row["p50"]["value"] <= row["p50"]["high"] for row in result["by_length"])
        assert all(row["n"] == 2 * 16 for row in result["by_length"])
        assert result["length_fit"]["overhead_ms"]["value"] < result["by_length"][0]["p50"]["value"] * 2


def test_the_open_loop_is_kept_apart(measured: dict[str, Any]) -> None:
    """Prevents waiting times from being mixed into the latencies of one user."""
    for result in measured["results"]:
        loop = result["open_loop"]
        assert loop["offered_per_s"] == 400
        assert loop["latency_ms"]["n"] == loop["service_ms"]["n"] == 200 - loop["unanswered"]
        assert loop["latency_ms"]["mean"] >= loop["service_ms"]["mean"]
        assert result["latency_ms"]["end_to_end"]["n"] == 750


def test_few_texts_are_repeated_and_count_once_for_accuracy(bundles: dict[str, Path]) -> None:
    """Prevents a p90 of six answers, and an accuracy in which some texts count more than others."""
    config = BenchConfig(
        rounds=3, warmup_texts=2, max_texts=6, min_samples=100, min_seconds=0, lengths=(), cold_starts=1
    )
    [result] = bench([bundles["student"]], config=config)["results"]
    assert result["latency_ms"]["end_to_end"]["n"] == 17 * 6
    assert result["latency_ms"]["end_to_end"]["p90"] is not None
    assert result["latency_ms"]["end_to_end"]["p95"] is None
    assert len(result["samples_ms"]) == 6
    assert all(round(2 * value) == 2 * value for value in result["accuracy"]["domains"].values())


def test_a_short_measurement_is_repeated_until_its_seconds_are_full(bundles: dict[str, Path]) -> None:
    """Prevents a fast model from being judged by a few milliseconds of work."""
    config = BenchConfig(
        rounds=2, warmup_texts=5, max_texts=6, min_samples=1, min_seconds=0.1, lengths=(), cold_starts=1
    )
    [result] = bench([bundles["student"]], config=config)["results"]
    assert result["latency_ms"]["end_to_end"]["n"] % 6 == 0
    assert sum(result["samples"]["end_to_end_ms"]) > 50
    assert result["by_length"] == []


def test_one_round_is_no_verdict(bundles: dict[str, Path]) -> None:
    """Prevents FASTER from being said of one pair of processes, whose memory may just lie luckily."""
    config = BenchConfig(
        rounds=1, warmup_texts=2, max_texts=30, min_samples=1, min_seconds=0, lengths=(), cold_starts=1
    )
    [comparison] = bench([bundles["student"]], baselines=[bundles["teacher"]], config=config)["comparisons"]
    assert comparison["verdict"] is None
    assert comparison["speedup_p50"]["low"] <= comparison["speedup_p50"]["value"] <= comparison["speedup_p50"]["high"]


def test_documents_of_the_first_version_are_read() -> None:
    """Prevents a committed measurement from becoming unreadable because keys were added."""
    value = json.loads((Path(__file__).parents[3] / "benchmarks" / "results" / "demo.json").read_text("utf-8"))
    for result in value["results"]:
        for key in ("samples", "by_length", "length_fit", "open_loop", "sustained", "agreement_with_fp32"):
            result.pop(key, None)
        result["latency_ms"].pop("post", None)
    for comparison in value["comparisons"]:
        for key in ("verdict", "domains", "speedup_rounds", "p_value", "smallest_difference"):
            comparison.pop(key, None)
    parsed = read_document(value)
    assert parsed.comparisons[0].verdict is None
    assert parsed.results[0].by_length == ()
    assert parsed.results[0].latency_ms.post is None


def test_fewer_texts_and_more_threads_than_granted(bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents an oversubscribed run from looking like any other, and `max_texts` from being forgotten."""
    monkeypatch.setattr(hrkd_bench.machine.facts, "available_cpus", lambda: 1)
    seen: list[tuple[str, int, int]] = []
    config = BenchConfig(
        rounds=4, warmup_texts=2, cold_starts=1, max_texts=6, threads=2, min_samples=1, min_seconds=0, lengths=()
    )
    document = bench([bundles["student"]], config=config, progress=lambda *step: seen.append(step))
    [result] = document["results"]
    assert document["texts"]["domains"] == {"books": 2, "films": 2, "phones": 2}
    assert result["latency_ms"]["end_to_end"]["n"] == 6
    assert result["valid"] is False
    assert any("2 threads were asked for" in reason for reason in result["invalid_reasons"])
    assert document["comparisons"] == []
    assert ("measuring", 6, 6) in seen


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema_version": 2}, "schema version 2"),
        ({"results": []}, "no results"),
        ({"texts": None}, "damaged: `texts`"),
    ],
)
def test_damaged_documents_are_refused(document: dict[str, Any], change: dict[str, Any], words: str) -> None:
    """Prevents a report made from a document of another meaning."""
    with pytest.raises(ArtifactError, match=words):
        read_document(document | change)


def test_a_later_documents_new_keys_are_ignored(document: dict[str, Any]) -> None:
    """Prevents an older installation from refusing a document only because it knows more."""
    document["budget"] = {"p95_ms": 5}
    document["results"][0]["energy_mj"] = 3.5
    assert len(read_document(document).results) == 2


def test_bench_runs_where_nothing_that_trains_is_installed(bundles: dict[str, Path]) -> None:
    """Prevents the parent or its children from needing torch, transformers, optimum or onnx on the device."""
    root = Path(__file__).resolve().parents[3]
    blocker = "import sys\nfor name in ('torch', 'transformers', 'optimum', 'onnx'):\n    sys.modules[name] = None\n"
    script = f"""{blocker}
import importlib, json, pkgutil
from pathlib import Path
import hrkd_bench
from hrkd.recipe import BenchConfig
modules = [module.name for module in pkgutil.walk_packages(hrkd_bench.__path__, "hrkd_bench.")]
for name in modules:
    importlib.import_module(name)
from hrkd_bench.bench import bench
config = BenchConfig(rounds=1, warmup_texts=2, max_texts=6, min_seconds=0, lengths=())
document = bench([Path(sys.argv[1])], config=config)
print(json.dumps([len(modules), document["results"][0]["name"]]))
"""
    # Python imports sitecustomize in every child as well, so they are without these libraries too.
    (bundles["student"].parent / "blocked").mkdir()
    (bundles["student"].parent / "blocked" / "sitecustomize.py").write_text(blocker, encoding="utf-8")
    path = os.pathsep.join(map(str, (bundles["student"].parent / "blocked", root, root / "benchmarks")))
    result = subprocess.run(
        [sys.executable, "-c", script, str(bundles["student"])],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert result.returncode == 0, result.stderr
    count, name = json.loads(result.stdout)
    assert count >= 20
    assert name == "small"

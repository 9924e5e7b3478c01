"""Two measurements of one bundle: what is a regression, and what cannot be compared."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from hrkd.errors import BenchError
from hrkd_bench.document.schema import read_document
from hrkd_bench.gate.findings import Finding, Outcome
from hrkd_bench.gate.regression import Allowance, Regression, compare_documents


def slowed(document: dict[str, Any], factor: float, seed: int = 0, round_noise: float = 0.01) -> dict[str, Any]:
    """Return the document as another run gives it: all times by a factor, each round by a little of its own."""
    copied = copy.deepcopy(document)
    generator = np.random.default_rng(seed)
    for result in copied["results"]:
        result |= {"valid": True, "invalid_reasons": []}
        result["samples_ms"] = [1.0 + 0.1 * (number % 7) for number in range(len(result["samples_ms"]))]
        text = np.tile(np.arange(len(result["samples_ms"])), 6)
        rounds = np.repeat(np.arange(6), len(result["samples_ms"]))
        speed = factor * np.exp(generator.normal(0, round_noise, 6))
        times = np.asarray(result["samples_ms"])[text] * speed[rounds]
        result["samples_ms"] = np.median(times.reshape(6, -1), axis=0).tolist()
        parts = {name: times.tolist() for name in ("tokenize_ms", "run_ms", "post_ms", "end_to_end_ms")}
        result["samples"] = {"text": text.tolist(), "round": rounds.tolist(), **parts}
    return copied


def compared(old: dict[str, Any], new: dict[str, Any], allowance: Allowance | None = None) -> Regression:
    return compare_documents(read_document(old), read_document(new), allowance)


def by_check(regression: Regression) -> dict[str, Finding]:
    return {finding.check: finding for finding in regression.findings}


def test_a_slower_bundle_is_a_regression_and_an_equal_one_is_not(document: dict[str, Any]) -> None:
    """Prevents a gate that lets 10 % through, and one that stops every second build for nothing."""
    outcomes = {
        factor: [by_check(compared(slowed(document, 1.0, seed), slowed(document, factor, seed + 50)))["p50"].outcome
                 for seed in range(10)]
        for factor in (1.0, 1.1)
    }  # fmt: skip
    assert outcomes[1.0].count(Outcome.PASS) >= 9
    assert outcomes[1.1].count(Outcome.MISSED) >= 9


def test_rounds_widen_the_interval(document: dict[str, Any]) -> None:
    """Prevents a claim from many texts of a few processes, whose memory happened to lie badly."""
    found = by_check(compared(slowed(document, 1.0, 1, 0.1), slowed(document, 1.06, 2, 0.1)))["p50"]
    assert found.outcome is Outcome.PASS
    assert "over rounds" in found.detail


def test_one_round_gets_no_verdict(document: dict[str, Any]) -> None:
    """Prevents a build that fails over how the memory of one process happened to lie."""
    old, new = slowed(document, 1.0, 1), slowed(document, 2.0, 2)
    for result in new["results"]:
        result["samples"]["round"] = [0] * len(result["samples"]["round"])
    for before, after in ((old, new), (new, old)):
        found = by_check(compared(before, after))["p50"]
        assert (found.outcome, found.value) == (Outcome.UNKNOWN, None)
        assert "--rounds 2" in found.detail


@pytest.mark.parametrize(
    ("parts", "which"),
    [({"samples_ms": [], "samples": None}, "both"), ({"samples_ms": []}, "old"), ({"samples": None}, "new")],
)
def test_a_document_without_its_times_passes_nothing(document: dict[str, Any], parts: dict, which: str) -> None:
    """Prevents `ratio nan, PASS` from a document that was stripped of its times to be kept in a repository."""
    old, new = slowed(document, 1.0, 1), slowed(document, 2.0, 2)
    for name, value in (("old", old), ("new", new)):
        for result in value["results"] if which in (name, "both") else []:
            result |= parts
    found = by_check(compared(old, new))["p50"]
    assert (found.outcome, found.value) == (Outcome.UNKNOWN, None)
    assert f"the {'old' if which == 'both' else which} document was stored without its single times" in found.detail
    assert "`hrkd bench --output`" in found.detail


def test_what_is_no_finite_number_is_unknown(document: dict[str, Any]) -> None:
    """Prevents a comparison with NaN, which is never beyond a limit, from passing."""
    old, new = slowed(document, 1.0, 1), slowed(document, 1.0, 2)
    samples = new["results"][1]["samples"]
    samples["end_to_end_ms"] = [1e-300 if number % 2 else 1e300 for number in samples["round"]]
    new["results"][1]["accuracy"]["average"] = float("nan")
    found = by_check(compared(old, new))
    assert found["p50"].outcome is found["accuracy"].outcome is Outcome.UNKNOWN
    assert found["p50"].value is found["accuracy"].value is None


def test_the_allowance_decides(document: dict[str, Any]) -> None:
    """Prevents an allowed slowdown that is read but not used."""
    old, new = slowed(document, 1.0, 1), slowed(document, 1.1, 2)
    assert by_check(compared(old, new, Allowance(slowdown=0.2)))["p50"].outcome is Outcome.PASS


def test_a_larger_or_a_less_accurate_bundle_is_a_regression(document: dict[str, Any]) -> None:
    """Prevents a gate that looks at speed alone."""
    new = copy.deepcopy(document)
    new["results"][1] |= {"size_bytes": int(1.05 * document["results"][1]["size_bytes"]), "model_sha256": "f" * 64}
    new["results"][1]["accuracy"] |= {"average": 0.2, "average_interval": (0.15, 0.25)}
    found = by_check(compared(document, new))
    assert found["size"].outcome is Outcome.MISSED
    assert found["accuracy"].outcome is Outcome.MISSED


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda value: value["environment"].update(cpu="another"), "`cpu`"),
        (lambda value: value["texts"].update(sha256="0" * 64), "different evaluation texts"),
        (lambda value: value["config"].update(seed=5), "different evaluation texts"),
        (lambda value: value["results"][1].update(threads=4), "thread"),
        (lambda value: value["results"][1].update(samples_ms=[1.0]), "1 texts"),
        (lambda value: value["results"][1]["samples"].update(text=[9999]), "do not fit"),
        (lambda value: value["results"][1]["samples"]["end_to_end_ms"].__setitem__(0, 0.0), "no number above 0"),
        (lambda value: value["results"][1].update(is_baseline=True), "no subject"),
    ],
)
def test_what_cannot_be_compared_is_refused(document: dict[str, Any], change: Any, words: str) -> None:
    """Prevents a ratio between two machines, text sets or settings that is taken for the bundle's."""
    new = copy.deepcopy(document)
    change(new)
    for result in new["results"] + document["results"]:
        result |= {"valid": True, "invalid_reasons": []}
    with pytest.raises(BenchError) as caught:
        compared(document, new)
    assert words in caught.value.message


def test_an_invalid_measurement_is_unknown(document: dict[str, Any]) -> None:
    """Prevents a disturbed run from passing or failing the gate."""
    new = slowed(document, 2.0)
    new["results"][1] |= {"valid": False, "invalid_reasons": ["stolen"]}
    assert by_check(compared(slowed(document, 1.0), new))["p50"].outcome is Outcome.UNKNOWN


def test_another_library_is_a_warning(document: dict[str, Any]) -> None:
    """Prevents an upgrade of the runtime, which a gate is there to judge, from being refused or kept quiet."""
    new = copy.deepcopy(document)
    new["environment"]["versions"]["onnxruntime"] = "9.9"
    assert any("onnxruntime" in warning and "9.9" in warning for warning in compared(document, new).warnings)

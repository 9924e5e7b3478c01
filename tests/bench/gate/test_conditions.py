"""Which results of two documents belong together, and what must agree between them."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from hrkd.errors import BenchError
from hrkd_bench.document.schema import read_document
from hrkd_bench.gate.regression import Regression, compare_documents

QUOTA = {
    "name": "quota-0.5",
    "label": "half of the time",
    "cpus": None,
    "quota": 0.5,
    "memory_bytes": None,
    "method": "cgroup-v2",
    "threads": 1,
}


def compared(old: dict[str, Any], new: dict[str, Any]) -> Regression:
    return compare_documents(read_document(old), read_document(new))


@pytest.fixture
def valid(document: dict[str, Any]) -> dict[str, Any]:
    for result in document["results"]:
        result |= {"valid": True, "invalid_reasons": []}
    return document


def with_device(document: dict[str, Any], cpu: str, **protocol: Any) -> dict[str, Any]:
    """Return the document as `bench merge --beside` writes it, with the rows of `pi` after this machine's."""
    both = copy.deepcopy(document)
    rows = copy.deepcopy(document["results"])
    for row in rows:
        row |= {"name": f"{row['name']} @ pi", "device": "pi", "fp32_reference": None}
    both["results"] += rows
    both["environments"] = {"pi": {**document["environment"], "cpu": cpu}}
    both["protocols"] = {"pi": {"config": document["config"], "profile": None, "roofline": None, **protocol}}
    return both


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (QUOTA, None, "under the profile `quota-0.5` (quota 0.5), now without limits"),
        (None, QUOTA, "without limits, now under the profile `quota-0.5`"),
        (QUOTA, {**QUOTA, "quota": 1.0}, "(quota 0.5), now under the profile `quota-0.5` (quota 1)"),
        (QUOTA, {**QUOTA, "memory_bytes": 256_000_000}, "(quota 0.5, 256 MB)"),
        (QUOTA, {**QUOTA, "cpus": [0, 1]}, "(2 core(s), quota 0.5)"),
        (QUOTA, {**QUOTA, "name": "kiosk"}, "`kiosk`"),
    ],
)
def test_other_limits_are_refused(valid: dict[str, Any], old: Any, new: Any, words: str) -> None:
    """Prevents FASTER from a bundle that was only measured without the limits of the old measurement."""
    with pytest.raises(BenchError) as caught:
        compared({**valid, "profile": old}, {**valid, "profile": new})
    assert words in caught.value.message
    assert "--profile" in (caught.value.hint or "")


def test_the_same_limits_on_other_cpus_are_a_warning(valid: dict[str, Any]) -> None:
    """Prevents a refusal because the system granted other cores of the same machine, and silence about slower ones."""
    found = compared({**valid, "profile": {**QUOTA, "cpus": [0]}}, {**valid, "profile": {**QUOTA, "cpus": [3]}})
    assert any("[0]" in warning and "[3]" in warning for warning in found.warnings)


def test_another_engine_is_refused(valid: dict[str, Any]) -> None:
    """Prevents a browser's time from being taken for a regression of the bundle that runs in it."""
    single = {**valid, "results": valid["results"][1:], "comparisons": [], "chain": []}
    browser = copy.deepcopy(single)
    browser["results"][0]["engine"] = "onnxruntime-web"
    with pytest.raises(BenchError, match="ran with onnxruntime, now with onnxruntime-web"):
        compared(single, browser)


def test_another_precision_is_a_warning(valid: dict[str, Any]) -> None:
    """Prevents the price of quantising from being read as a change of the model."""
    single = {**valid, "results": valid["results"][1:], "comparisons": [], "chain": []}
    other = copy.deepcopy(single)
    other["results"][0]["precision"] = "fp32"
    assert any("int8 is compared with fp32" in warning for warning in compared(single, other).warnings)


def test_rows_of_a_device_are_judged_by_its_own_machine(valid: dict[str, Any]) -> None:
    """Prevents a Pi 5 from passing as a Pi 4 that became faster, because the same host stood beside both."""
    old = with_device(valid, "Cortex-A72")
    assert compared(old, old).findings[-1].subject == "small @ pi"
    with pytest.raises(BenchError) as caught:
        compared(old, with_device(valid, "Cortex-A76"))
    assert "`small @ pi`" in caught.value.message
    assert "Cortex-A76" in caught.value.message
    with pytest.raises(BenchError, match=r"quota-0\.5"):
        compared(old, with_device(valid, "Cortex-A72", profile=QUOTA))
    other = with_device(valid, "Cortex-A72", config={**valid["config"], "warmup_texts": 77})
    assert [warning for warning in compared(old, other).warnings if "warmup_texts" in warning] == [
        "setting `warmup_texts` on `pi`: 10, now 77"
    ]


def test_a_profile_of_this_machine_is_none_of_a_device(valid: dict[str, Any]) -> None:
    """Prevents rows of a device from being refused, or limits from being invented for it, in an older document."""
    old = {**with_device(valid, "Cortex-A72"), "protocols": {}}
    with pytest.raises(BenchError, match="`small` was measured"):
        compared({**old, "profile": QUOTA}, old)
    for value in (old, new := copy.deepcopy({**old, "profile": QUOTA})):
        value["results"] = value["results"][2:]
        value |= {"comparisons": [], "chain": []}
    assert compared(old, new).findings

"""The committed JSON: round trips, damage, and what must not be in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrkd.errors import ArtifactError
from paper.bits import pack, unpack
from paper.documents import DATASET, read_facts, read_result, read_results
from paper.provenance import changes, described_overrides


@given(st.lists(st.booleans(), max_size=70))
def test_bits_come_back(flags: list[bool]) -> None:
    """A shifted bit would give every text its neighbour's answer."""
    assert unpack(pack(flags), len(flags)).tolist() == flags


@pytest.mark.parametrize(("digits", "size"), [("ff", 9), ("ffff", 8), ("zz", 8), ("ff", 5)])
def test_bits_of_another_size_are_refused(digits: str, size: int) -> None:
    """Answers to another test split would be paired with the wrong texts."""
    with pytest.raises(ValueError, match=r"bits|hex"):
        unpack(digits, size)


def test_bits_are_written_as_documented() -> None:
    """Committed files outlive this code: the first text is the highest bit of the first byte."""
    assert pack([True, False, False, False, True]) == "88"


def _first_result(results: Path) -> Path:
    return results / "tiny" / "100" / "uniform" / "seed-0.json"


def _read_all(results: Path) -> int:
    return len(list(read_results(results, read_facts(results / "tiny" / DATASET))))


def test_all_results_are_read(made_up: Callable[..., Path]) -> None:
    """Prevents the tests below from passing because nothing is read."""
    assert _read_all(made_up()) == 8


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("schema_version", 2, "schema_version"),
        ("seed", 7, "is the result of tiny / 100 / uniform / seed-7"),
        ("test_fingerprint", "x", "other test texts"),
        ("surprise", 1, "surprise"),
    ],
)
def test_a_result_that_does_not_fit_is_named(
    made_up: Callable[..., Path], key: str, value: object, message: str
) -> None:
    """A result of another run, split or version in the wrong place would be averaged without a word."""
    results = made_up()
    path = _first_result(results)
    document = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**document, key: value}), encoding="utf-8")
    with pytest.raises(ArtifactError, match=message) as caught:
        _read_all(results)
    assert str(path) in str(caught.value)


def test_a_cut_file_is_named(made_up: Callable[..., Path]) -> None:
    """A file cut by a full disk must not look like a missing run."""
    path = _first_result(made_up())
    path.write_text(path.read_text(encoding="utf-8")[:200], encoding="utf-8")
    with pytest.raises(ArtifactError, match="not valid JSON"):
        read_result(path)


def test_answers_to_fewer_texts_are_refused(made_up: Callable[..., Path]) -> None:
    """A truncated bit string would still give an accuracy."""
    results = made_up()
    path = _first_result(results)
    document = json.loads(path.read_text(encoding="utf-8"))
    document["scores"]["correct"] = document["scores"]["correct"][:-2]
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"scores\.correct"):
        _read_all(results)


def test_a_text_of_two_domains_is_refused(made_up: Callable[..., Path]) -> None:
    """Domains that overlap would count a text twice."""
    path = made_up() / "tiny" / DATASET
    document = json.loads(path.read_text(encoding="utf-8"))
    document["test_domains"]["films"] = document["test_domains"]["books"]
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(ArtifactError, match="no domain, or several"):
        read_facts(path).domains()


def test_changes_of_a_recipe_are_told_from_new_keys() -> None:
    """A changed default must not be mixed into a row; a key of a newer version must not invalidate months of runs."""
    recorded = {"method": {"hidden_weight": 0.1, "gone": 1}, "seed": 0}
    present = {"method": {"hidden_weight": 0.5, "new": 2}, "seed": 0}
    assert changes(recorded, present, {}) == ["method.hidden_weight was 0.1, is 0.5"]
    assert changes(recorded, present, {"method.new": 2})[1:] == ["method.new is 2, and was unknown"]
    assert changes(recorded, recorded, {"seed": 0}) == []


def test_overrides_lose_their_paths(tmp_path: Path) -> None:
    """A path of somebody's machine must not be published."""
    overrides = {"data.path": str(tmp_path / "reviews"), "teacher.base": "package:some-encoder", "seed": 1}
    assert described_overrides(overrides) == {
        "data.path": "reviews",
        "teacher.base": "package:some-encoder",
        "seed": 1,
    }


def test_domains_come_back(made_up: Callable[..., Path]) -> None:
    """The columns of a table are the domains of these texts."""
    facts = read_facts(made_up() / "tiny" / DATASET)
    assert np.bincount(facts.domains()).tolist() == [120, 120]
    assert facts.leaks().sum() == 5

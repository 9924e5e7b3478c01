"""Inputs that fuzzing found, each kept as it was found, or as short as it can be written."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from fuzz.test_fuzz_bundles import rewrite
from hrkd.artifact import new_folder
from hrkd.bundle import TOKENIZER
from hrkd.bundle_archive import pack_bundle, unpack_bundle
from hrkd.data.sources.files import read_table
from hrkd.errors import ArtifactError, DataError
from hrkd_bench.runtime import Classifier
from hrkd_cli.main import main
from tiny_bundle import make_bundle

DEMO = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "demo.json"


def test_a_zip_that_lost_a_byte(tmp_path: Path) -> None:
    """Prevents `Invalid argument`: a byte too few moves the first member to position -1, which zipfile lets through."""
    make_bundle(tmp_path / "bundle", per_domain=2)
    pack_bundle(tmp_path / "bundle", tmp_path / "bundle.zip")
    content = (tmp_path / "bundle.zip").read_bytes()
    (tmp_path / "short.zip").write_bytes(content[:100] + content[101:])
    with pytest.raises(ArtifactError, match="not an intact zip"):
        unpack_bundle(tmp_path / "short.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_parquet_with_a_damaged_page_header(tmp_path: Path) -> None:
    """Prevents the OSError by which the Parquet library says that a page, not the file, is damaged."""
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"text": [f"text {number}" for number in range(50)]}), sink)
    content = bytearray(sink.getvalue())
    content[4:8] = b"\x14\x04\xff\xff"
    (tmp_path / "reviews.parquet").write_bytes(content)
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_table(tmp_path / "reviews.parquet")


@pytest.mark.parametrize("line", ["[" * 100_000, "9" * 5000], ids=["nested too deep", "a number of 5000 digits"])
def test_json_lines_beyond_pythons_limits(tmp_path: Path, line: str) -> None:
    """Prevents RecursionError and ValueError, which are no JSONDecodeError."""
    (tmp_path / "reviews.jsonl").write_text(f'{{"text": "fine"}}\n{line}\n', encoding="utf-8")
    with pytest.raises(DataError, match="line 2"):
        read_table(tmp_path / "reviews.jsonl")


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_a_folder_where_a_file_shall_be_written(
    overwrite: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prevents `Is a directory` after minutes of measuring: a folder is no file that may be replaced."""
    make_bundle(tmp_path / "bundle", per_domain=2)
    for line in (["report", str(DEMO)], ["bench", str(tmp_path / "bundle")]):
        assert main([*line, "--output", str(tmp_path / "bundle"), *overwrite]) == 2
        assert "is not a file" in capsys.readouterr().err


@pytest.mark.parametrize("line", [["bundle", "verify"], ["report"], ["predict"], ["evaluate"], ["export"]])
def test_a_name_that_is_too_long(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Prevents `File name too long`, which asking whether a path exists raises instead of answering no."""
    assert main([*line, "x" * 5000]) == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize("name", ["", "."])
def test_a_path_without_a_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prevents `PosixPath('.') has an empty name`, and the present folder from being swapped for a bundle."""
    make_bundle(tmp_path / "here", per_domain=2)
    monkeypatch.chdir(tmp_path / "here")
    before = sorted(path.name for path in Path().iterdir())
    assert main(["bundle", "unpack", name]) == 2
    assert "error: " in capsys.readouterr().err
    assert sorted(path.name for path in Path().iterdir()) == before
    with pytest.raises(ArtifactError, match="has no name"), new_folder(Path(), replace=True):
        raise AssertionError("the work began")


def test_a_tokenizer_that_panics(tmp_path: Path) -> None:
    """Prevents Rust's PanicException, which is no Exception, from leaving as a traceback of the library."""
    bundle = tmp_path / "bundle"
    make_bundle(bundle, per_domain=2)
    tokenizer = json.loads((bundle / TOKENIZER).read_text(encoding="utf-8"))
    tokenizer["post_processor"]["special_tokens"] = {}
    rewrite(bundle, TOKENIZER, json.dumps(tokenizer).encode())
    with pytest.raises(ArtifactError, match="the bundle's tokenizer is damaged"):
        Classifier.load(bundle)(["a fine film"], domain="books")

"""Data files of every format: damaged bytes, and damaged values well written."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.budget_of_cases import share
from fuzz.guard import Arena, refused_or
from fuzz.mutations import damaged, damaged_bytes
from hrkd.data.load import load_dataset
from hrkd.recipe import DataConfig
from tiny import make_rows

pytestmark = pytest.mark.filterwarnings("ignore")
ROWS: list[dict[str, Any]] = [
    {**row, "split": ("train", "validation", "test")[number // 2 % 3]} for number, row in enumerate(make_rows(12))
]
REVIEW = "<review>\n<title>{0}</title>\n<review_text>\n{0} text & more\n</review_text>\n</review>\n"
SPLITS = (
    "domain,label,position,split\n"
    + "".join(
        f"{domain},{label},{position},{('train', 'validation', 'test')[position % 3]}\n"
        for domain in ("books", "dvd")
        for label in ("negative", "positive")
        for position in range(6)
    )
).encode()


def delimited(rows: list[Any], delimiter: str) -> bytes:
    """Return rows as CSV; a value that is no row is written as one cell."""
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=delimiter)
    names = list(ROWS[0])
    writer.writerow(names)
    for row in rows:
        writer.writerow([row.get(name) for name in names] if isinstance(row, dict) else [row])
    return stream.getvalue().encode("utf-8", "surrogatepass")


def json_lines(rows: list[Any]) -> bytes:
    """Return rows as JSONL."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def parquet(rows: list[Any]) -> bytes:
    """Return rows as Parquet, as far as one type fits a column."""
    sink = io.BytesIO()
    names = list(ROWS[0])
    try:
        table = pyarrow.table({name: [row.get(name) for row in rows if isinstance(row, dict)] for name in names})
    except (pyarrow.ArrowException, UnicodeEncodeError, OverflowError):
        table = pyarrow.table({name: [repr(row).encode("utf-8", "replace").decode() for row in rows] for name in names})
    pyarrow.parquet.write_table(table, sink)
    return sink.getvalue()


FORMATS = {
    ".csv": lambda rows: delimited(rows, ","),
    ".tsv": lambda rows: delimited(rows, "\t"),
    ".jsonl": json_lines,
    ".json": json_lines,
    ".parquet": parquet,
}
rows_of_any_kind = damaged(ROWS).map(lambda rows: rows if isinstance(rows, list) else [rows])
files = st.sampled_from(sorted(FORMATS)).flatmap(
    lambda suffix: st.tuples(
        st.just(suffix),
        st.one_of(damaged_bytes(FORMATS[suffix](ROWS)), rows_of_any_kind.map(FORMATS[suffix])),
    )
)
settings_of_data = st.fixed_dictionaries(
    {},
    optional={
        "split_column": st.sampled_from(["split", "label", "domain"]),
        "domain_column": st.sampled_from(["domain", None, "text", "nothing"]),
        "text_pair_column": st.sampled_from(["text", "label", "nothing"]),
        "domains": st.sampled_from([("books",), ("books", "garden"), ()]),
        "train_fraction": st.sampled_from([0.01, 0.5, 1.0]),
    },
)


@share(0.16)
@given(file=files, settings=settings_of_data)
def test_a_data_file_is_read_or_refused(arena: Arena, file: tuple[str, bytes], settings: dict[str, Any]) -> None:
    """Prevents a broken export of a spreadsheet from ending in a traceback instead of a file and a line."""
    suffix, content = file
    with arena.case(lambda box: (box / f"reviews{suffix}").write_bytes(content)):
        config = DataConfig(source="files", path=f"reviews{suffix}", **settings)
        dataset = refused_or(lambda: load_dataset(config))
        if dataset is not None:
            assert all(text.strip() for text in dataset.train.texts)
            dataset.fingerprint()


@share(0.06)
@given(
    review=damaged_bytes("".join(REVIEW.format(f"nice {number}") for number in range(6)).encode()),
    splits=st.one_of(st.none(), damaged_bytes(SPLITS)),
    name=st.sampled_from(["positive.review", "negative.review"]),
)
def test_a_folder_of_reviews_is_read_or_refused(arena: Arena, review: bytes, splits: bytes | None, name: str) -> None:
    """Prevents a cut or mixed-up review file from ending in a traceback, or from counting reviews wrongly."""

    def prepare(box: Path) -> None:
        for domain in ("books", "dvd"):
            for label in ("positive", "negative"):
                body = "".join(REVIEW.format(f"{domain} {label} {number}") for number in range(6))
                path = box / "reviews" / domain / f"{label}.review"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(body.encode())
        (box / "reviews" / "books" / name).write_bytes(review)
        (box / "reviews" / "splits.csv").write_bytes(SPLITS if splits is None else splits)

    with arena.case(prepare):
        file = None if splits is None else "splits.csv"
        refused_or(lambda: load_dataset(DataConfig(source="amazon_reviews", path="reviews", split_file=file)))

"""CSV, TSV, JSON lines and Parquet; every bad file is named with its line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from hrkd.data.dataset import DomainDataset
from hrkd.data.load import load_dataset
from hrkd.errors import DataError
from hrkd.recipe import DataConfig
from tiny import make_rows, write_jsonl

Row = dict[str, str]


def load(path: Path, **values: object) -> DomainDataset:
    return load_dataset(DataConfig.model_validate({"source": "files", "path": str(path), **values}))


def write_delimited(path: Path, rows: list[Row], delimiter: str = ",") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_parquet(path: Path, rows: list[Row]) -> Path:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def refused(path: Path, words: str, **values: object) -> str:
    with pytest.raises(DataError, match=words) as caught:
        load(path, **values)
    assert caught.value.hint
    return caught.value.hint


def test_all_formats_give_the_same_dataset(tmp_path: Path) -> None:
    """Silent failure: a format that loses rows, quotes or line breaks."""
    rows = make_rows()
    rows[0]["text"] = 'good, "really" good\nsecond line\twith tab \u2028 and é'
    paths = [
        write_delimited(tmp_path / "a.csv", rows),
        write_delimited(tmp_path / "a.tsv", rows, "\t"),
        write_jsonl(tmp_path / "a.jsonl", rows),
        write_parquet(tmp_path / "a.parquet", rows),
    ]
    made = [load(path) for path in paths]
    assert len({dataset.fingerprint() for dataset in made}) == 1
    assert made[0].domain_names == ("books", "films", "phones")
    assert made[0].label_names == ("neg", "pos")
    texts = {text for examples in made[0].splits.values() for text in examples.texts}
    assert texts == {row["text"] for row in rows}


def test_labels_and_domains_belong_to_their_texts(tmp_path: Path) -> None:
    """Silent failure: names mapped to ids in one order and read in another."""
    rows = make_rows()
    expected = {row["text"]: (row["label"], row["domain"]) for row in rows}
    dataset = load(write_jsonl(tmp_path / "a.jsonl", rows))
    for examples in dataset.splits.values():
        assert len(examples)
        for text, label, domain in zip(examples.texts, examples.labels, examples.domains, strict=True):
            assert expected[text] == (dataset.label_names[label], dataset.domain_names[domain])


def test_one_file_per_domain(tmp_path: Path) -> None:
    """Silent failure: all files of a folder in one domain."""
    rows = make_rows()
    for domain in ("books", "films"):
        own = [{"text": row["text"], "label": row["label"]} for row in rows if row["domain"] == domain]
        write_delimited(tmp_path / f"{domain}.csv", own)
    dataset = load(tmp_path)
    assert dataset.domain_names == ("books", "films")
    books = {row["text"] for row in rows if row["domain"] == "books"}
    assert set(dataset.train.of_domain(0).texts) < books


def test_one_folder_per_domain_with_files_per_split(tmp_path: Path) -> None:
    """Silent failure: `books/test.csv` becomes training data, or a domain called `test`."""
    for domain in ("books", "films"):
        rows = make_rows(30, domains=(domain,))
        for index, name in enumerate(("train", "dev", "test")):
            write_delimited(tmp_path / domain / f"{name}.csv", rows[index * 10 : index * 10 + 10])
    dataset = load(tmp_path)
    assert dataset.domain_names == ("books", "films")
    assert [len(examples) for examples in dataset.splits.values()] == [20, 20, 20]


def test_files_named_after_splits_need_a_domain_column(tmp_path: Path) -> None:
    """Silent failure: the domains `train` and `test`."""
    rows = make_rows(30)
    tested = [row for index, row in enumerate(rows) if index % 3 == 0]
    write_jsonl(tmp_path / "train.jsonl", [row for index, row in enumerate(rows) if index % 3])
    write_jsonl(tmp_path / "test.jsonl", tested)
    dataset = load(tmp_path, validation_fraction=0.2)
    assert dataset.domain_names == ("books", "films", "phones")
    assert set(dataset.test.texts) == {row["text"] for row in tested}
    assert [len(dataset.train), len(dataset.validation)] == [48, 12]


def test_split_column(tmp_path: Path) -> None:
    """Silent failure: the user's own split ignored."""
    rows = [
        {**row, "part": ("train", "train", "VALID", "valid", "test", "Test")[index % 6]}
        for index, row in enumerate(make_rows(36))
    ]
    dataset = load(write_delimited(tmp_path / "a.csv", rows), split_column="part")
    assert set(dataset.validation.texts) == {row["text"] for row in rows if row["part"].lower() == "valid"}
    assert set(dataset.test.texts) == {row["text"] for row in rows if row["part"].lower() == "test"}
    rows[3]["part"] = "tset"
    hint = refused(write_delimited(tmp_path / "b.csv", rows), r"line 5: `part` is 'tset'", split_column="part")
    assert "validation" in hint


def test_text_pairs_and_number_labels(tmp_path: Path) -> None:
    """Silent failure: the second text dropped; label 1 and label "1" taken for two labels."""
    rows = [{"text": row["text"], "second": f"pair of {row['text']}", "domain": row["domain"]} for row in make_rows()]
    lines = [{**row, "label": (index % 2, str(index % 2))[index % 3 == 0]} for index, row in enumerate(rows)]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    dataset = load(path, text_pair_column="second")
    assert dataset.label_names == ("0", "1")
    assert dataset.has_pairs
    assert dataset.train.text_pairs == tuple(f"pair of {text}" for text in dataset.train.texts)


def test_whole_number_labels_stored_as_floats(tmp_path: Path) -> None:
    """Silent failure: pandas writes 0.0 and 1.0 where a column once had gaps; the labels must be 0 and 1."""
    rows = [{**row, "label": float(row["label"] == "pos")} for row in make_rows()]
    assert load(write_parquet(tmp_path / "a.parquet", rows)).label_names == ("0", "1")  # type: ignore[arg-type]


def test_without_domain_column_there_is_one_domain(tmp_path: Path) -> None:
    """Silent failure: a single-domain file refused although the recipe says so."""
    dataset = load(write_delimited(tmp_path / "a.csv", make_rows()), domain_column=None)
    assert dataset.domain_names == ("all",)


def test_text_of_100000_characters(tmp_path: Path) -> None:
    """Silent failure: the csv module's field limit turns one long text into an unexplained crash."""
    rows = make_rows()
    rows[5]["text"] = "word " * 40_000
    limit = csv.field_size_limit()
    for path in (write_delimited(tmp_path / "a.csv", rows), write_jsonl(tmp_path / "a.jsonl", rows)):
        dataset = load(path)
        assert max(len(text) for examples in dataset.splits.values() for text in examples.texts) == 200_000
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_invalid_utf8_names_file_and_line(tmp_path: Path, name: str) -> None:
    """Silent failure: replacement characters in the training texts."""
    write = write_delimited if name.endswith("csv") else write_jsonl
    path = write(tmp_path / name, make_rows())
    lines = path.read_bytes().splitlines(keepends=True)
    lines[6] = lines[6].replace(b"o", b"\xe9", 1) if b"o" in lines[6] else b"\xe9" + lines[6]
    path.write_bytes(b"".join(lines))
    assert "UTF-8" in refused(path, rf"{name}`, line 7: byte 0xe9 is not UTF-8")


def test_wrong_column_is_named_with_those_that_exist(tmp_path: Path) -> None:
    """Silent failure: none; but the user must see which key of the recipe to change."""
    path = write_delimited(tmp_path / "a.csv", make_rows())
    hint = refused(path, r"no column `labels` \(`data.label_column`\)", label_column="labels")
    assert "did you mean `label`?" in hint
    assert "text, label, domain" in refused(path, "no column `zzz`", text_column="zzz")


def test_empty_texts_are_refused_with_their_rows(tmp_path: Path) -> None:
    """Silent failure: rows dropped without a word."""
    rows = make_rows()
    for index in (1, 4, 6, 8, 10, 12, 14):
        rows[index]["text"] = " \t"
    path = write_delimited(tmp_path / "a.csv", rows)
    hint = refused(path, "line 3, 6, 8, 10, 12 and 2 more: `text` is empty")
    assert "remove" in hint
    refused(write_parquet(tmp_path / "a.parquet", rows), "row 2, 5, 7, 9, 11 and 2 more")


def test_line_numbers_count_lines_not_records(tmp_path: Path) -> None:
    """Silent failure: a text with line breaks shifts every later line number."""
    rows = make_rows()
    rows[0]["text"] = "three\nlines\nhere"
    rows[2]["text"] = ""
    refused(write_delimited(tmp_path / "a.csv", rows), "line 6: `text` is empty")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"text": "a"}\n{"text": \n', r"line 2: "),
        ('["a"]\n', r"line 1: list instead of a JSON object"),
        ('{"text": 5, "label": "x", "domain": "d"}\n', r"line 1: `text` is no text but int"),
        ('{"text": "a", "label": null, "domain": "d"}\n', r"line 1: `label` is missing or unusable: None"),
        ('{"text": "a", "label": 0.5, "domain": "d"}\n', r"line 1: `label` is missing or unusable: 0.5"),
        ('{"text": "a", "label": "x", "domain": ""}\n', r"line 1: `domain` is missing"),
        ('{"text": "\\ud800", "label": "x", "domain": "d"}\n', r"line 1: `text` holds half of a surrogate"),
    ],
)
def test_bad_json_lines(tmp_path: Path, content: str, words: str) -> None:
    """Silent failure: `None` or `0.5` becomes a class of its own."""
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    with pytest.raises(DataError, match=words):
        load(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("text,label,domain\na,x,d\na,b,x,d\n", "line 3: 4 fields, but the header has 3"),
        ('text,label,domain\n"a"b,x,d\n', "line 2: "),
        ("text,text,domain\na,x,d\n", "two columns `text`"),
        ("text,label,domain\n", "holds no rows"),
        ("", "holds no rows"),
    ],
)
def test_bad_csv(tmp_path: Path, content: str, words: str) -> None:
    """Silent failure: an unquoted comma moves half of a text into the label column."""
    path = tmp_path / "a.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=words):
        load(path)


def test_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    """Silent failure: files saved by a spreadsheet have a column that looks like `text` and is not."""
    path = write_delimited(tmp_path / "a.csv", make_rows())
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load(path).domain_names == ("books", "films", "phones")


def test_places_without_data(tmp_path: Path) -> None:
    """Silent failure: none; but each must say what to change."""
    refused(tmp_path / "none.csv", "does not exist")
    refused(tmp_path, "holds no data files")
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    assert ".jsonl" in refused(tmp_path / "a.xlsx", "no known format")
    (tmp_path / "a.parquet").write_bytes(b"no parquet")
    refused(tmp_path / "a.parquet", "cannot be read as Parquet")
    with pytest.raises(DataError, match=r"`data.path` is missing"):
        load_dataset(DataConfig.model_validate({"source": "files"}))


def test_mixed_folders_are_refused(tmp_path: Path) -> None:
    """Silent failure: the files or the folders, whichever are not looked at, are left out."""
    write_jsonl(tmp_path / "books.jsonl", make_rows())
    write_delimited(tmp_path / "films" / "all.csv", make_rows())
    refused(tmp_path, r"beside domain folders: books.jsonl, films/")


def test_files_with_and_without_split_are_refused(tmp_path: Path) -> None:
    """Silent failure: an unsplit file counted as training data beside real test files."""
    write_delimited(tmp_path / "books" / "test.csv", make_rows())
    write_delimited(tmp_path / "books" / "rest.csv", make_rows())
    refused(tmp_path, "some files name their split and others do not")


def test_one_class_domain_of_a_file_is_refused(tmp_path: Path) -> None:
    """Silent failure: loading does not validate."""
    rows = [{**row, "label": "pos" if row["domain"] == "films" else row["label"]} for row in make_rows()]
    refused(write_jsonl(tmp_path / "a.jsonl", rows), "domain `films` have the label `pos`")

"""The model card: what it says stands in the manifest, and no name in it can say anything else."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from hrkd.bundle import CARD, Drop, Flips, Guard, Invariance, Manifest, ReferenceMetrics, Vocabulary, open_bundle
from hrkd.bundle_card import NODES_SHOWN, render_card, summary_lines
from hrkd.markdown import escape, one_line, table
from tiny_bundle import make_bundle

HOSTILE = (
    "a|b",
    "`code`",
    "one\n\n# two",
    "line\u2028line",
    "[text](http://evil.example)",
    "![](x)",
    "<script>alert(1)</script>",
    "https://evil.example",
    "www.evil.example",
    "**bold** _it_ ~~x~~",
    "\x1b[2J\x07",
    "\u202egnp.exe",
    "$$x$$",
    "```\nfence",
    "---",
    "&lt;",
    "",
    "x" * 1000,
)


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    make_bundle(tmp_path / "bundle", name="student-int8", precision="int8")
    bare = open_bundle(tmp_path / "bundle")
    return replace(
        bare,
        quantization="int8-static-qdq",
        target="avx512_vnni",
        reference=ReferenceMetrics(
            average=0.9123, worst=0.8, domains={"books": 0.8, "films": 0.95}, agreement_with_teacher=0.97
        ),
        flips=Flips(from_fp32=0.0234, from_teacher=0.041, domains={"books": 0.01, "films": 0.0368}),
        invariance=Invariance(
            texts=77, padded_flips=0.013, batched_flips=0.026, largest_change=0.4321, advice="One at a time."
        ),
        guard=Guard(
            limit_points=1.0,
            drops={"books": Drop(points=0.52, low=-0.31, high=1.25)},
            kept_in_float=("/layer.1/MatMul",),
        ),
        vocabulary=Vocabulary(
            pieces_before=30522, pieces=7000, unknown_rate_before={"books": 0.0011}, unknown_rate={"books": 0.0234}
        ),
        fusions={"Attention": 3},
        versions={"onnxruntime": "1.32.0"},
        recipe_hash="ab" * 32,
    )


def front_matter(card: str) -> Any:
    return yaml.safe_load(card.split("---\n")[1])


def test_numbers_of_the_manifest_are_in_the_card(manifest: Manifest) -> None:
    """Prevents a card that leaves out what speaks against the bundle: worst domain, flips, drops, unknowns."""
    card = render_card(manifest)
    assert "| books | 80.00 % | 1.00 % |" in card
    assert "| films | 95.00 % | 3.68 % |" in card
    assert "| average | 91.23 % | 2.34 % |" in card
    assert "Labels that differ from the teacher's: 4.10 %" in card
    assert "| books | 0.52 | -0.31 to 1.25 |" in card
    assert "/layer.1/MatMul" in card
    assert "7000 of 30522 pieces" in card
    assert "| books | 0.11 % | 2.34 % |" in card
    assert "One at a time. Measured on 77 texts: padding changed 1.30 % of the labels, padded batches 2.60 %" in card
    assert "0.43" in card
    for word in (
        "int8-static-qdq",
        "avx512\\_vnni",
        "Attention 3",
        "allow\\_spinning 0",
        "onnxruntime 1.32.0",
        "ab" * 32,
    ):
        assert word in card
    for file in (file for name, file in manifest.files.items() if name != CARD):
        assert file.sha256 in card


def test_an_unquantised_bundle_claims_no_flips(tmp_path: Path) -> None:
    """Prevents zeros that nobody measured."""
    card = render_card(make_bundle(tmp_path / "bundle"))
    assert "changed by quantising" not in card
    assert "Accuracy guard" not in card
    assert "Vocabulary:" not in card
    assert "| books | n/a |" in card


def test_hubs_can_read_the_front_matter(manifest: Manifest) -> None:
    """Prevents a repository page without type and tags, and a licence that nobody chose."""
    values = front_matter(render_card(manifest))
    assert values["pipeline_tag"] == "text-classification"
    assert {"onnx", "hrkd", "int8", "onnxruntime"} <= set(values["tags"])
    assert values["metrics"] == ["accuracy"]
    assert "license" not in values


def test_the_card_in_a_bundle_is_the_one_of_its_manifest(tmp_path: Path) -> None:
    """Prevents a card that depends on whether the manifest lists it: its own hash cannot stand in it."""
    manifest = make_bundle(tmp_path / "bundle")
    assert CARD in manifest.files
    assert (tmp_path / "bundle" / CARD).read_text(encoding="utf-8") == render_card(manifest)


@pytest.mark.parametrize("text", HOSTILE)
def test_names_cannot_change_the_card(text: str, manifest: Manifest) -> None:
    """Prevents a domain called `| 100 % |` from adding a column, and a label from adding a link or a script."""
    plain = render_card(replace(manifest, **everywhere("日")))
    card = render_card(replace(manifest, **everywhere(text)))
    assert [line[:2] for line in card.splitlines()] == [line[:2] for line in plain.splitlines()]
    assert front_matter(card) == front_matter(plain)
    assert [cells(line) for line in card.splitlines()] == [cells(line) for line in plain.splitlines()]
    for mark in ("`", "<", "*", "[", "$"):
        assert unescaped(mark, card) == unescaped(mark, plain)
    assert not re.search(r"(?<!\\)://|(?i:\bwww\.)", card)
    assert card.isprintable() or all(line.isprintable() for line in card.splitlines())


def everywhere(text: str) -> dict[str, Any]:
    """Put a text wherever a manifest takes any."""
    drop = Drop(points=0.0, low=0.0, high=0.0)
    return {
        "name": text,
        "quantization": text,
        "target": text,
        "backend": text,
        "domain_names": (text, f"{text}|"),
        "label_names": (text, f"{text}|"),
        "method": {text: text},
        "versions": {text: text},
        "parents": {text: text},
        "recipe_hash": text,
        "fusions": {text: 1},
        "reference": ReferenceMetrics(average=1.0, worst=1.0, domains={text: 1.0}, agreement_with_teacher=1.0),
        "flips": Flips(from_fp32=0.0, from_teacher=0.0, domains={text: 0.0}),
        "invariance": Invariance(texts=1, padded_flips=0.0, batched_flips=0.0, largest_change=0.0, advice=text),
        "guard": Guard(limit_points=1.0, drops={text: drop}, kept_in_float=(text,)),
        "vocabulary": Vocabulary(pieces_before=2, pieces=1, unknown_rate_before={text: 0.0}, unknown_rate={text: 0.0}),
        "session": {text: text},
    }


def cells(line: str) -> int:
    return unescaped("|", line)


def unescaped(mark: str, text: str) -> int:
    return len(re.findall(rf"(?<!\\)(?:\\\\)*{re.escape(mark)}", text))


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("books", "books"),
        ("sci-fi, 2nd", "sci-fi, 2nd"),
        ("a|b", "a\\|b"),
        ("a\\|b", "a\\\\\\|b"),
        ("a\nb\u2028c", "a b c"),
        ("", "(empty)"),
        (" \n ", "(empty)"),
        ("https://x", "https\\://x"),
        ("www.x", "www\\.x"),
        ("a\x1b\u202eb", "a\ufffd\ufffdb"),
        ("日本語 é", "日本語 é"),
    ],
)
def test_escaping(text: str, escaped: str) -> None:
    """Prevents an escape that is itself escaped away, and one that mangles honest names."""
    assert escape(text) == escaped


def test_long_texts_are_cut() -> None:
    """Prevents one name of a megabyte from being the whole card."""
    assert one_line("x" * 1000) == "x" * 200 + "…"


def test_tables_have_a_rule() -> None:
    """Prevents rows that Markdown shows as one paragraph."""
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | ---: |\n| 1 | 2 |"


@pytest.mark.parametrize(("nodes", "more"), [(NODES_SHOWN, False), (NODES_SHOWN + 3, True)])
def test_many_nodes_are_counted_not_listed(nodes: int, more: bool, manifest: Manifest) -> None:
    """Prevents a page of node names, and a short list that looks complete."""
    guard = Guard(limit_points=1.0, drops={}, kept_in_float=tuple(f"node{number}" for number in range(nodes)))
    card = render_card(replace(manifest, guard=guard))
    assert (" and 3 more" in card) is more
    assert ("node22" in card) is False


@pytest.mark.parametrize(
    ("update", "words"),
    [
        ({}, ['domain="books"', '--domain "books" --text']),
        ({"domain_names": ('a"); evil("', "films")}, ['domain="films"', '--domain "films"']),
        ({"domain_names": ("日",)}, ['film"])[0].label', "this/folder --text"]),
        ({"engine": "openvino"}, ["hrkd[edge,openvino]"]),
        ({"text_pairs": True}, ["text_pairs=[", "--input pairs.jsonl"]),
    ],
)
def test_the_examples_fit_the_bundle(update: dict[str, Any], words: list[str], manifest: Manifest) -> None:
    """Prevents an example that fails when it is copied, or that runs a domain's name as code."""
    card = render_card(replace(manifest, **update))
    for word in words:
        assert word in card


def test_the_python_example_runs(tmp_path: Path) -> None:
    """Prevents a card whose three lines raise."""
    card = render_card(make_bundle(tmp_path / "bundle"))
    lines = card.split("```python\n")[1].split("```")[0].replace("path/to/this/folder", str(tmp_path / "bundle"))
    scope: dict[str, Any] = {}
    exec(lines, scope)  # noqa: S102 - our own three lines
    assert scope["classifier"].domain_names == ("books", "films")


def test_a_terminal_is_not_told_to_do_anything(manifest: Manifest) -> None:
    """Prevents `hrkd bundle verify` of a foreign bundle from moving the cursor over its own warnings."""
    lines = summary_lines(replace(manifest, **everywhere("\x1b[2J\n")))
    assert all(line.isprintable() for line in lines)
    assert any("int8" in line for line in summary_lines(manifest))

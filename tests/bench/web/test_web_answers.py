"""The page in a real headless Chromium: it answers as the Python runtime does, or not at all."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from hrkd.errors import BenchError
from hrkd_bench.runtime import Classifier
from hrkd_bench.web.devtools import Page
from hrkd_bench.web.site import FACTS, write_site
from tiny_bundle import make_bundle
from web_page import OpenPage, answers_of, ask, problem_of, reseal

BLOCKS = (
    0x20,
    0xC0,
    0x300,
    0x370,
    0x5D0,
    0x620,
    0x900,
    0x1E00,
    0x2000,
    0x3040,
    0x4E00,
    0xFE00,
    0x1F300,
    0x1F900,
    0x20000,
)
NASTY = (
    "",
    "   ",
    "good " * 2000,
    "\u05d8\u05d5\u05d1 good \u0645\u0645\u062a\u0627\u0632",
    "good \U0001f469\u200d\U0001f469\u200d\U0001f467 bad \U0001f1e9\U0001f1ea",
    "<script>alert('good')</script> & \"bad\" \\u0000",
    "\x00good\ufeff\u200b bad\u2028\u0085good",
    "GOOD \u039f\u0394\u03a5\u03a3\u03a3\u0395\u03a5\u03a3 \u0130I \ufb01ne",
)


@pytest.mark.parametrize("domain", [None, "books", "films"])
def test_nasty_texts_get_the_answers_of_python(domain: str | None, page: Page, folders: dict[str, Path]) -> None:
    """Prevents a page that answers fluently and otherwise: by other tokens, another head, or another cut at the end."""
    classifier = Classifier.load(folders["bundle"])
    seen = set()
    for text in NASTY:
        answer, expected = ask(page, text, domain), classifier([text], domain)[0]
        encoded = classifier.tokenize(text)
        assert answer["ids"] == encoded, text[:40]
        assert answer["logits"] == pytest.approx(
            classifier.run(encoded, classifier.domain_id(domain)).tolist(), abs=1e-5
        )
        assert answer["label"] == expected.label
        assert answer["probabilities"] == pytest.approx(list(expected.probabilities.values()), abs=1e-5)
        seen.add(tuple(answer["logits"]))
    assert len(seen) > 4


def test_random_texts_are_cut_as_in_python(page: Page, folders: dict[str, Path]) -> None:
    """Prevents words that end elsewhere: the libraries of the two languages carry different tables of characters."""
    classifier, generator = Classifier.load(folders["bundle"]), random.Random(5)
    texts = []
    for _ in range(400):
        blocks = generator.choices(BLOCKS, k=generator.randint(1, 12))
        texts.append(
            "".join(chr(block + generator.randrange(0x60)) + generator.choice(("", "", " ")) for block in blocks)
        )
    for text, answer in zip(texts, answers_of(page, texts), strict=True):
        assert answer["ids"] == classifier.tokenize(text), [hex(ord(character)) for character in text]


def test_pairs_are_cut_as_in_python(open_page: OpenPage, tmp_path: Path) -> None:
    """Prevents an empty second text from being taken for none, and the longer text from not being cut first."""
    make_bundle(tmp_path / "pairs", text_pairs=True)
    write_site(tmp_path / "pairs", tmp_path / "page", with_texts=False)
    classifier, page = Classifier.load(tmp_path / "pairs"), open_page(tmp_path / "page")
    for first in (0, 1, 6, 7, 30):
        for second in (0, 1, 6, 8, 30):
            text, pair = "good " * first, "bad " * second
            assert ask(page, text, None, pair)["ids"] == classifier.tokenize(text, pair), (first, second)


def test_half_a_character_is_refused_as_in_python(page: Page) -> None:
    """Prevents an answer to a text that no other part of the chain could even read."""
    with pytest.raises(BenchError, match="lone surrogate"):
        page.evaluate(r"hrkd.classify('good \ud83d film')")


@pytest.mark.parametrize("name", ["bundle/model.onnx", "bundle/tokenizer.json", "vendor/ort-wasm-simd-threaded.wasm"])
def test_a_changed_byte_is_refused(name: str, open_page: OpenPage, folders: dict[str, Path], tmp_path: Path) -> None:
    """Prevents a model that was cut off on its way, or exchanged, from answering."""
    shutil.copytree(folders["page"], tmp_path / "page")
    content = bytearray((tmp_path / "page" / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "page" / name).write_bytes(content)
    assert f"{name} was changed" in problem_of(open_page(tmp_path / "page"))


def test_an_exchanged_list_of_hashes_is_refused(open_page: OpenPage, folders: dict[str, Path], tmp_path: Path) -> None:
    """Prevents the check from being passed by writing the exchanged file's hash into the list."""
    shutil.copytree(folders["page"], tmp_path / "page")
    sums = tmp_path / "page" / "SHA256SUMS"
    sums.write_text(sums.read_text(encoding="utf-8").replace("0", "1"), encoding="utf-8")
    assert "SHA256SUMS was changed" in problem_of(open_page(tmp_path / "page"))


def test_other_tokens_than_in_python_are_refused(open_page: OpenPage, folders: dict[str, Path], tmp_path: Path) -> None:
    """Prevents wrong answers in a browser, or with a tokenizer, that nobody has tried: the page tests itself first."""
    shutil.copytree(folders["page"], tmp_path / "page")
    facts = json.loads((tmp_path / "page" / FACTS).read_text(encoding="utf-8"))
    facts["probes"][3]["ids"][1] += 1
    (tmp_path / "page" / FACTS).write_text(json.dumps(facts), encoding="utf-8")
    reseal(tmp_path / "page", FACTS)
    assert "into other tokens than the Python runtime" in problem_of(open_page(tmp_path / "page"))


def test_without_isolation_one_thread_answers_and_the_page_says_so(open_page: OpenPage) -> None:
    """Prevents a page on an ordinary server that promises threads, or that does not run at all."""
    page = open_page(query="?threads=4", isolated=False)
    assert page.evaluate("hrkd.loading()")["threads"] == 1
    assert len(ask(page, "good")["ids"]) == 3
    assert "Cross-Origin-Opener-Policy" in page.evaluate("document.getElementById('how').textContent")


def test_threads_are_those_that_were_asked_for(page: Page) -> None:
    """Prevents a number in the result that no thread stands behind."""
    assert page.evaluate("crossOriginIsolated")
    assert page.evaluate("hrkd.loading()")["threads"] == 2

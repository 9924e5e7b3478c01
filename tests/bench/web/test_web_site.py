"""The static page of a bundle, without a browser: what is in the folder, and what is refused before it is made."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pytest

from hrkd.artifact import sha256_file
from hrkd.bundle import EVAL, TOKENIZER, read_eval
from hrkd.errors import ArtifactError, BenchError
from hrkd_bench.runtime import Classifier
from hrkd_bench.web import assets, reference
from hrkd_bench.web.assets import AssetFile, Package
from hrkd_bench.web.site import FACTS, INDEX, SUMS, write_site
from tiny_bundle import make_bundle

LIBRARY = b"export class Tokenizer {}\n"
STATIC = Path(reference.__file__).with_name("static")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    make_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture
def libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a library that stands for the real ones, which need a network."""
    file = AssetFile("library.mjs", "library.js", hashlib.sha256(LIBRARY).hexdigest(), len(LIBRARY))
    package = Package("library", "1.0.0", "MIT", f"sha512-{base64.b64encode(bytes(64)).decode()}", (file,))
    monkeypatch.setattr(assets, "packages", lambda: (package,))
    place = tmp_path / "node_modules" / "library" / "library.mjs"
    place.parent.mkdir(parents=True)
    place.write_bytes(LIBRARY)
    return tmp_path / "node_modules"


def test_every_file_stands_in_the_list_and_the_list_in_the_page(bundle: Path, libraries: Path, tmp_path: Path) -> None:
    """Prevents a file that the page would load unchecked, and a list of hashes that anybody can exchange."""
    write_site(bundle, tmp_path / "page", assets=libraries)
    sums = (tmp_path / "page" / SUMS).read_text(encoding="utf-8")
    listed = dict(reversed(line.split("  ")) for line in sums.splitlines())
    present = {path.relative_to(tmp_path / "page").as_posix() for path in (tmp_path / "page").rglob("*.*")}
    assert present - {INDEX} == set(listed)
    assert {"bundle/model.onnx", "bundle/tokenizer.json", "vendor/library.js", "app.js"} < set(listed)
    assert all(sha256_file(tmp_path / "page" / name) == sha256 for name, sha256 in listed.items())
    index = (tmp_path / "page" / INDEX).read_text(encoding="utf-8")
    assert f'data-sums="{hashlib.sha256(sums.encode()).hexdigest()}"' in index


def test_the_page_names_no_other_server(bundle: Path, libraries: Path, tmp_path: Path) -> None:
    """Prevents a font, a script or a counter from elsewhere, which tells others who visits the page."""
    write_site(bundle, tmp_path / "page", assets=libraries)
    own = [path for path in (tmp_path / "page").rglob("*.*") if path.suffix in (".html", ".js", ".css")]
    assert len(own) >= 10
    for path in own:
        text = path.read_text(encoding="utf-8")
        assert "://" not in text, path
        assert "//cdn" not in text, path
    assert "default-src 'none'" in (tmp_path / "page" / INDEX).read_text(encoding="utf-8")


def test_the_answers_of_python_go_along(bundle: Path, libraries: Path, tmp_path: Path) -> None:
    """Prevents a page that compares itself with answers to other texts, or in another order."""
    site = write_site(bundle, tmp_path / "page", assets=libraries)
    facts = json.loads((tmp_path / "page" / FACTS).read_text(encoding="utf-8"))
    classifier = Classifier.load(bundle)
    examples = read_eval(bundle, classifier.manifest)
    assert site.texts == len(examples) == len(facts["reference_logits"])
    for example, logits in zip(examples[:10], facts["reference_logits"], strict=False):
        expected = classifier.run(classifier.tokenize(example.text), classifier.domain_id(example.domain))
        assert logits == pytest.approx(expected.tolist(), abs=1e-5)
    assert [probe["text"] for probe in facts["probes"]] == list(reference.PROBES)
    assert all(probe["ids"] == classifier.tokenize(probe["text"]) for probe in facts["probes"])


def test_without_texts_none_of_them_is_in_the_page(bundle: Path, libraries: Path, tmp_path: Path) -> None:
    """Prevents a published page from publishing customers' texts that were only to be measured on."""
    texts = [example.text for example in read_eval(bundle, Classifier.load(bundle).manifest)]
    site = write_site(bundle, tmp_path / "page", assets=libraries, with_texts=False)
    assert site.texts == 0
    content = b"".join(path.read_bytes() for path in (tmp_path / "page").rglob("*.*"))
    assert texts
    assert not [text for text in texts if text.encode() in content]
    assert not list((tmp_path / "page").rglob(EVAL))


def test_a_page_replaces_a_page_and_nothing_else(bundle: Path, libraries: Path, tmp_path: Path) -> None:
    """Prevents `--overwrite` from removing a folder with a user's own files in it."""
    page = tmp_path / "page"
    write_site(bundle, page, assets=libraries)
    with pytest.raises(ArtifactError, match="exists already"):
        write_site(bundle, page, assets=libraries)
    write_site(bundle, page, assets=libraries, replace=True)
    (page / "thesis.txt").write_text("years", encoding="utf-8")
    with pytest.raises(ArtifactError, match="is not a page of hrkd"):
        write_site(bundle, page, assets=libraries, replace=True)
    assert (page / "thesis.txt").read_text(encoding="utf-8") == "years"


def test_a_damaged_bundle_leaves_no_page(bundle: Path, libraries: Path, tmp_path: Path) -> None:
    """Prevents half a page from being taken for one."""
    with (bundle / "model.onnx").open("r+b") as stream:
        stream.write(b"\0")
    with pytest.raises(ArtifactError):
        write_site(bundle, tmp_path / "page", assets=libraries)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "node_modules"]


def test_a_tokenizer_that_javascript_cuts_otherwise_is_refused(tmp_path: Path) -> None:
    """Prevents other tokens in the browser than in Python: of equal segmentations, Unigram takes another one there."""
    (tmp_path / TOKENIZER).write_text(json.dumps({"model": {"type": "Unigram", "vocab": []}}), encoding="utf-8")
    with pytest.raises(BenchError, match="is of kind 'Unigram'") as caught:
        reference.check_tokenizer(tmp_path)
    assert "BPE, WordPiece" in (caught.value.hint or "")


def test_the_character_tables_are_those_of_the_installed_tokenizer() -> None:
    """Prevents a page whose words end elsewhere after an update of `tokenizers`: its Unicode tables are its own.

    Looks at both edges of every range; `scripts/web_characters.py --check` looks at all of Unicode.
    """
    from tokenizers import normalizers, pre_tokenizers

    tables = json.loads((STATIC / "characters.json").read_text(encoding="utf-8"))
    off = {"clean_text": False, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False}

    def normalised(step: str, character: str) -> str:
        return str(normalizers.BertNormalizer(**off | {step: True}).normalize_str(character))

    splitter = pre_tokenizers.BertPreTokenizer()
    kinds = {
        "removed": lambda character: normalised("clean_text", character) == "",
        "blank": lambda character: normalised("clean_text", character) == " ",
        "ideograph": lambda character: normalised("handle_chinese_chars", character) == f" {character} ",
        "mark": lambda character: normalised("strip_accents", character) == "",
        "punctuation": lambda character: len(splitter.pre_tokenize_str(f"a{character}a")) == 3,
        "separator": lambda character: len(splitter.pre_tokenize_str(f"a{character}a")) == 2,
    }
    assert set(tables) == set(kinds)
    for kind, ranges in tables.items():
        assert ranges
        inside = {code for first, last in ranges for code in (first, last)}
        outside = {code for first, last in ranges for code in (first - 1, last + 1)} - {-1, 0x110000, 0xD7FF + 1}
        listed = [range(first, last + 1) for first, last in ranges]
        for code in inside | {code for code in outside if not 0xD800 <= code < 0xE000}:
            assert kinds[kind](chr(code)) == any(code in one for one in listed), (kind, hex(code))

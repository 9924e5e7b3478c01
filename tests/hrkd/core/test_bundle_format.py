"""The bundle's format: what is damaged, foreign or of a later version is refused by name before anything is run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hrkd.artifact import sha256_file
from hrkd.bundle import (
    CARD,
    EVAL,
    MANIFEST,
    MODEL,
    SCHEMA_VERSION,
    TOKENIZER,
    EvalExample,
    GraphFacts,
    Invariance,
    Manifest,
    ReferenceMetrics,
    describe_files,
    open_bundle,
    parse_eval,
    read_eval,
    write_eval,
    write_manifest,
)
from hrkd.errors import ArtifactError

LABELS = ("neg", "pos")
DOMAINS = ("books", "films")
EMPTY_GRAPH = bytes([1 << 3, 8, 7 << 3 | 2, 0])
"""An ONNX file of IR version 8 with a graph of nothing."""
FILE = {"sha256": "0", "size_bytes": 1}
FILES = dict.fromkeys((MODEL, TOKENIZER, EVAL, CARD), FILE)
EXAMPLES = [
    EvalExample(text='naïve\u2028text\r\nwith "lines"\x85', label="pos", domain="books", teacher_logits=(-1.5, 0.1)),
    EvalExample(text="", text_pair="b", label="neg", domain="films", teacher_logits=(1.0, 0.0)),
]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle with an empty graph, whose tokenizer and card are only bytes: nothing here opens them."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / MODEL).write_bytes(EMPTY_GRAPH)
    (folder / CARD).write_bytes(b"# card")
    (folder / TOKENIZER).write_bytes(b"tokenizer!")
    write_eval(folder, EXAMPLES)
    manifest = Manifest(
        name="test",
        role="student",
        precision="int8",
        target="avx2",
        quantization="int8",
        engine="onnxruntime",
        backend="ort",
        domain_names=DOMAINS,
        label_names=LABELS,
        max_length=16,
        text_pairs=True,
        parents={"student": "abc"},
        recipe_hash=None,
        method={"graph": "uniform", "hidden_weight": 0.1},
        versions={"hrkd": "0"},
        graph=GraphFacts(opset=17, ir_version=8, operators={"MatMul": 3}, quantized_bytes=7, float_bytes=9),
        fusions={},
        reference=ReferenceMetrics(average=0.5, worst=0.25, domains={"books": 0.5}, agreement_with_teacher=1.0),
        flips=None,
        invariance=Invariance(texts=9, padded_flips=0.0, batched_flips=0.1, largest_change=0.5, advice="Alone."),
        validation=None,
        guard=None,
        vocabulary=None,
        session={"allow_spinning": "0"},
        files=describe_files(folder),
    )
    write_manifest(folder, manifest)
    return folder


@pytest.fixture
def change(bundle: Path) -> Callable[..., None]:
    """Change one value of the manifest, nested keys joined by `/`; the value `...` removes it."""

    def edit(key: str, value: Any) -> None:
        manifest = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
        node = manifest
        *parents, last = key.split("/")
        for parent in parents:
            node = node[parent]
        if value is ...:
            del node[last]
        else:
            node[last] = value
        (bundle / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")

    return edit


class TestManifest:
    def test_reads_back_equal(self, bundle: Path) -> None:
        """A number or name that changes on the way is a wrong claim on every device."""
        manifest = open_bundle(bundle)
        assert manifest.method == {"graph": "uniform", "hidden_weight": 0.1}
        assert (manifest.domain_names, manifest.label_names) == (DOMAINS, LABELS)
        assert manifest.model_sha256 == sha256_file(bundle / MODEL)
        again = bundle.parent / "again"
        again.mkdir()
        write_manifest(again, manifest)
        assert (again / MANIFEST).read_bytes() == (bundle / MANIFEST).read_bytes()

    def test_size_leaves_out_texts_and_card(self, bundle: Path) -> None:
        """Texts and card are not needed to run; counted, they would hide what quantising saved."""
        assert open_bundle(bundle).size_bytes == len(EMPTY_GRAPH) + len(b"tokenizer!")

    def test_bundle_hash_follows_the_files_only(self, bundle: Path, change: Callable[..., None]) -> None:
        """Another name is the same bundle; another model is not, and must be measured again."""
        before = open_bundle(bundle)
        change("name", "other")
        assert open_bundle(bundle).bundle_hash == before.bundle_hash
        (bundle / MODEL).write_bytes(EMPTY_GRAPH[:1] + b"\x07" + EMPTY_GRAPH[2:])
        assert replace(before, files=describe_files(bundle)).bundle_hash != before.bundle_hash

    @pytest.mark.parametrize("name", [MODEL, TOKENIZER, EVAL, CARD])
    def test_a_changed_or_missing_file_is_named(self, bundle: Path, name: str) -> None:
        """A damaged download still runs, only worse."""
        content = bytearray((bundle / name).read_bytes())
        content[-1] ^= 1
        (bundle / name).write_bytes(content)
        with pytest.raises(ArtifactError, match=f"{name}` was changed"):
            open_bundle(bundle)
        (bundle / name).unlink()
        with pytest.raises(ArtifactError, match=f"{name}` is missing"):
            open_bundle(bundle)

    def test_what_is_no_bundle_is_refused(self, tmp_path: Path, bundle: Path) -> None:
        """The hint names the command that makes one."""
        with pytest.raises(ArtifactError, match="is not a folder") as caught:
            open_bundle(tmp_path / "absent")
        assert "hrkd export" in str(caught.value)
        (bundle / MANIFEST).unlink()
        with pytest.raises(ArtifactError, match=r"has no manifest\.json"):
            open_bundle(bundle)

    @pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, 1, "2", None, "a\x1b" * 1000, ...])
    def test_another_schema_is_refused_first(self, bundle: Path, change: Callable[..., None], version: object) -> None:
        """A later bundle may mean something else by the same keys, and its new keys must not be the complaint."""
        change("schema_version", version)
        change("key_of_the_future", 1)
        with pytest.raises(ArtifactError, match="schema version"):
            open_bundle(bundle)

    @pytest.mark.parametrize(
        ("key", "value", "problem"),
        [
            ("surprise", 1, "`surprise`: Extra inputs"),
            ("graph/surprise", 1, r"`graph\.surprise`"),
            (f"files/{MODEL}/surprise", 1, "surprise`"),
            ("max_length", ..., "`max_length`: Field required"),
            ("max_length", 0, "`max_length`"),
            ("label_names", [], "`label_names`"),
            ("domain_names", [], "`domain_names`"),
            ("role", "assistant", "`role`"),
            ("precision", "int2", "`precision`"),
            ("engine", "tensorrt", "`engine`"),
            ("reference/worst", float("nan"), r"`reference\.worst`"),
            ("label_names", ["pos", "pos"], "two labels alike"),
            ("domain_names", ["books", "books"], "two domains alike"),
            ("name", "tiny\x1b]52;c;ZXZpbA==\x07", "a terminal would obey"),
            ("label_names", ["neg", "pos\n"], "a terminal would obey"),
            ("domain_names", ["books", "\u202efilms"], "a terminal would obey"),
            ("reference/average", "high", r"`reference\.average`"),
            (f"files/{MODEL}", ..., r"does not list model\.onnx"),
            (f"files/{EVAL}", ..., r"does not list eval\.jsonl"),
            (f"files/{CARD}", ..., r"does not list README\.md"),
            ("files", {**FILES, "..": FILE}, "not a plain file name"),
            ("files", {**FILES, "a/b": FILE}, "not a plain file name"),
            ("files", {**FILES, "a\\b": FILE}, "not a plain file name"),
            ("files", {**FILES, "C:a": FILE}, "not a plain file name"),
            ("files", {**FILES, "": FILE}, "not a plain file name"),
            ("files", {**FILES, "a\x00": FILE}, "not a plain file name"),
            ("files", {**FILES, "MODEL.onnx": FILE}, "twice"),
            ("files", {**FILES, MANIFEST: FILE}, "twice"),
        ],
    )
    def test_a_wrong_value_is_named(
        self, bundle: Path, change: Callable[..., None], key: str, value: object, problem: str
    ) -> None:
        """Each of these would otherwise fail deep in the runtime, on the device."""
        change(key, value)
        with pytest.raises(ArtifactError, match=problem):
            open_bundle(bundle)

    @pytest.mark.parametrize("content", ["[]", "null", "3"])
    def test_a_manifest_that_is_no_mapping_is_refused(self, bundle: Path, content: str) -> None:
        """It has no schema version to ask for."""
        (bundle / MANIFEST).write_text(content)
        with pytest.raises(ArtifactError, match="schema version None"):
            open_bundle(bundle)


class TestEvaluationTexts:
    def test_texts_read_back_equal(self, bundle: Path) -> None:
        """A line separator inside a text splits its line for a reader that is too clever."""
        assert read_eval(bundle, open_bundle(bundle)) == EXAMPLES

    @pytest.mark.parametrize(
        ("field", "value", "problem"),
        [
            ("label", "neutral", "line 2: label 'neutral'"),
            ("domain", "music", "domain 'music' is unknown"),
            ("teacher_logits", None, "line 2: Input should be"),
            ("surprise", 1, "line 2: Extra inputs"),
        ],
    )
    def test_a_wrong_line_is_named(self, bundle: Path, field: str, value: object, problem: str) -> None:
        """A label that is dropped or mapped to the last id moves every accuracy."""
        lines = (bundle / EVAL).read_text(encoding="utf-8").rstrip("\n").split("\n")
        lines[1] = json.dumps({**json.loads(lines[1]), field: value})
        (bundle / EVAL).write_text("\n".join(lines), encoding="utf-8")
        with pytest.raises(ArtifactError, match=problem):
            parse_eval(bundle / EVAL, LABELS, DOMAINS)

    def test_a_cut_line_is_named(self, bundle: Path) -> None:
        """A copy that broke off loses texts without a word."""
        content = (bundle / EVAL).read_bytes()
        (bundle / EVAL).write_bytes(content[:-20])
        with pytest.raises(ArtifactError, match="line 2: Invalid JSON"):
            parse_eval(bundle / EVAL, LABELS, DOMAINS)

    @pytest.mark.parametrize("content", ["", "\n", "\n\n"])
    def test_no_texts_are_an_error(self, bundle: Path, content: str) -> None:
        """The accuracy of nothing is not a number."""
        (bundle / EVAL).write_text(content)
        with pytest.raises(ArtifactError, match="holds no examples"):
            parse_eval(bundle / EVAL, LABELS, DOMAINS)

    def test_an_unreadable_file_is_an_error_of_the_user(self, bundle: Path) -> None:
        """Missing, a folder, or no UTF-8: the path is what the user needs."""
        (bundle / EVAL).write_bytes(b"\xff\xff")
        for path in (bundle / EVAL, bundle / "absent", bundle):
            with pytest.raises(ArtifactError, match="cannot be read"):
                parse_eval(path, LABELS, DOMAINS)

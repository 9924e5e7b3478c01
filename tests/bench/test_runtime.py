"""The edge runtime on a tiny real bundle."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hrkd_bench.runtime
from hrkd.artifact import read_json, write_json
from hrkd.bundle import SCHEMA_VERSION, describe_files, open_bundle, read_eval
from hrkd.errors import ArtifactError, BenchError, DataError, MissingExtraError
from hrkd.shape import to_json
from hrkd_bench.runtime import Classifier
from tiny_bundle import LABELS, VOCABULARY, head_biases, make_bundle, token_weights


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    make_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture
def classifier(bundle: Path) -> Classifier:
    return Classifier.load(bundle)


def expected_probabilities(text: str, domain_id: int) -> np.ndarray:
    """Compute what the tiny graph answers, written from its description."""
    tokens = ["[CLS]", *text.split(), "[SEP]"]
    pooled = token_weights()[[VOCABULARY.index(token) for token in tokens]].sum(axis=0)
    heads = np.exp(pooled + head_biases(2))
    heads /= heads.sum(axis=1, keepdims=True)
    return heads[domain_id] if domain_id >= 0 else heads.mean(axis=0)


@pytest.mark.parametrize(("domain", "domain_id"), [("books", 0), ("films", 1), (None, -1)])
def test_probabilities_are_those_of_the_domains_head(
    classifier: Classifier, domain: str | None, domain_id: int
) -> None:
    """Prevents answers of another domain's head, and a raw score passed off as a probability."""
    [prediction] = classifier(["a good film"], domain)
    expected = expected_probabilities("a good film", domain_id)
    assert list(prediction.probabilities) == list(LABELS)
    assert list(prediction.probabilities.values()) == pytest.approx(expected.tolist(), abs=1e-6)
    assert prediction.label == "pos"
    assert prediction.domain == domain


def test_one_domain_per_text(classifier: Classifier) -> None:
    """Prevents the first domain of a list from being used for all texts."""
    texts = ["the book", "the book", "the book"]
    mixed = classifier(texts, ["books", "films", None])
    alone = [classifier(["the book"], domain)[0] for domain in ("books", "films", None)]
    assert mixed == alone
    assert len({prediction.probabilities["pos"] for prediction in mixed}) == 3


def test_padding_does_not_change_an_answer(classifier: Classifier) -> None:
    """Prevents padded tokens from counting: throughput would be measured on wrong answers."""
    texts = ["bad", "a very good film and a lovely story", "the phone was broken"]
    encodeds = [classifier.tokenize(text) for text in texts]
    assert len({len(encoded) for encoded in encodeds}) == 3
    together = classifier.run_batch(encodeds, [0, 1, -1])
    alone = [classifier.run(encoded, domain_id) for encoded, domain_id in zip(encodeds, [0, 1, -1])]
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_long_texts_are_cut_to_the_manifests_length(classifier: Classifier) -> None:
    """Prevents a graph error, or seconds of work, on a text that is longer than anything seen in training."""
    assert len(classifier.tokenize("good " * 100_000)) == classifier.manifest.max_length
    assert len(classifier.tokenize("good film")) == 4


def test_empty_text_and_no_texts(classifier: Classifier) -> None:
    """Prevents a crash on the least input."""
    assert classifier([]) == []
    [prediction] = classifier([""], "books")
    assert sum(prediction.probabilities.values()) == pytest.approx(1.0)


def test_the_reference_accuracy_is_reached(bundle: Path, classifier: Classifier) -> None:
    """Prevents label names in another order than the logits."""
    examples = read_eval(bundle, open_bundle(bundle))
    answers = classifier([example.text for example in examples], [example.domain for example in examples])
    assert [answer.label for answer in answers] == [example.label for example in examples]


def test_unknown_domain_name_is_refused(classifier: Classifier) -> None:
    """Prevents a typing error from silently becoming the unknown domain."""
    with pytest.raises(DataError, match="`fims`") as caught:
        classifier(["good"], "fims")
    assert "books, films" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("texts", "domain", "pairs", "words"),
    [
        ("good", None, None, "one string"),
        (["good"], ["books", "films"], None, "1 texts, but 2 domains"),
        (["good"], None, ["bad"], "single texts"),
        (["good \ud800"], None, None, r"ud800.* is not valid text"),
        ([7], None, None, "7 is not valid text"),
    ],
)
def test_bad_inputs_are_refused(
    classifier: Classifier, texts: list[str], domain: list[str] | None, pairs: list[str] | None, words: str
) -> None:
    """Prevents one answer per letter, shifted domains, and tracebacks of the tokenizer."""
    with pytest.raises(DataError, match=words):
        classifier(texts, domain, text_pairs=pairs)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "eval.jsonl"])
def test_a_changed_byte_is_refused(bundle: Path, name: str) -> None:
    """Prevents a damaged copy from answering wrongly."""
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"{name}` was changed"):
        Classifier.load(bundle)


def test_a_missing_file_is_refused(bundle: Path) -> None:
    """Prevents an error of another library about a path that the user never gave."""
    (bundle / "tokenizer.json").unlink()
    with pytest.raises(ArtifactError, match=r"tokenizer\.json` is missing"):
        Classifier.load(bundle)


def test_a_newer_schema_is_refused(bundle: Path) -> None:
    """Prevents reading a future bundle with today's meaning of its fields."""
    manifest = read_json(bundle / "manifest.json")
    write_json(bundle / "manifest.json", manifest | {"schema_version": SCHEMA_VERSION + 1})
    with pytest.raises(ArtifactError, match=f"schema version {SCHEMA_VERSION + 1}"):
        Classifier.load(bundle)


@pytest.mark.parametrize(
    ("name", "words"), [("model.onnx", "is not an ONNX file"), ("tokenizer.json", "is not a tokenizer")]
)
def test_a_broken_file_with_the_right_hash_is_refused(bundle: Path, name: str, words: str) -> None:
    """Prevents a traceback when the export itself wrote nonsense."""
    (bundle / name).write_bytes(b"nonsense")
    files = {key: to_json(file) for key, file in describe_files(bundle).items()}
    write_json(bundle / "manifest.json", read_json(bundle / "manifest.json") | {"files": files})
    with pytest.raises(ArtifactError, match=words):
        Classifier.load(bundle)


@pytest.mark.parametrize(
    ("session", "words"),
    [
        ({"register_custom_ops_library": "evil.so"}, "register_custom_ops_library: evil.so"),
        ({"allow_spinning": "maybe"}, "allow_spinning: maybe"),
        ({"graph_optimization_level": "most"}, "graph_optimization_level: most"),
        ({"intra_op_num_threads": "all"}, "intra_op_num_threads: all"),
    ],
)
def test_unknown_session_settings_are_refused(tmp_path: Path, session: dict[str, str], words: str) -> None:
    """Prevents a manifest from reaching settings of onnxruntime that load code, and from being half obeyed."""
    make_bundle(tmp_path / "bundle", session=session)
    with pytest.raises(ArtifactError, match=words):
        Classifier.load(tmp_path / "bundle")


def test_threads_come_from_the_caller_the_manifest_or_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevents a manifest of a big machine from flooding a small one with threads."""
    monkeypatch.setattr(hrkd_bench.runtime, "available_cpus", lambda: 2)
    make_bundle(tmp_path / "one", session={"intra_op_num_threads": 1})
    make_bundle(tmp_path / "many", session={"intra_op_num_threads": 64})
    make_bundle(tmp_path / "none", session={"enable_mem_pattern": False, "graph_optimization_level": "all"})
    threads = {name: Classifier.load(tmp_path / name).threads for name in ("one", "many", "none")}
    assert threads == {"one": 1, "many": 2, "none": 2}
    assert Classifier.load(tmp_path / "one", threads=2).threads == 2
    with pytest.raises(BenchError, match="0 threads"):
        Classifier.load(tmp_path / "one", threads=0)


@pytest.mark.parametrize("library", ["onnxruntime", "tokenizers"])
def test_a_missing_library_names_its_extra(bundle: Path, monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    """Prevents a bare import error on a device that was set up by half."""
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError) as caught:
        Classifier.load(bundle)
    assert "hrkd[edge]" in str(caught.value.hint)


def test_telemetry_is_off_before_onnxruntime_is_imported(bundle: Path) -> None:
    """Prevents a device from calling home because the variable was set a moment too late."""
    script = """
import json, os, sys
from importlib.abc import MetaPathFinder
seen = []
class Watch(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            seen.append(os.environ.get("ORT_DISABLE_TELEMETRY"))
sys.meta_path.insert(0, Watch())
from hrkd_bench.runtime import Classifier
before = "onnxruntime" in sys.modules
Classifier.load(sys.argv[1])
print(json.dumps([before, seen]))
"""
    root = Path(__file__).resolve().parents[2]
    script = f"import sys; sys.path[:0] = {[str(root), str(root / 'benchmarks')]!r}\n{script}"
    result = subprocess.run(
        [sys.executable, "-c", script, str(bundle)], capture_output=True, text=True, check=True, env={"PATH": ""}
    )
    assert json.loads(result.stdout) == [False, ["1"]]

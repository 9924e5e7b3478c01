"""Every answer of the edge runtime against the tiny graph's arithmetic, and where its threads and inputs end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hrkd.artifact import read_json, write_json
from hrkd.bundle import EVAL, MANIFEST, MODEL, TOKENIZER, read_eval
from hrkd.errors import ArtifactError, DataError
from hrkd_bench import runtime
from hrkd_bench.runtime import Classifier
from tiny_bundle import LABELS, VOCABULARY, head_biases, make_bundle, token_weights

MAX_LENGTH = 16
NOISE = 0.5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runtime") / "bundle"
    make_bundle(folder, noise=NOISE, domain_names=("books", "films", "phones"), max_length=MAX_LENGTH)
    return folder


@pytest.fixture(scope="module")
def classifier(folder: Path) -> Classifier:
    return Classifier.load(folder, threads=1)


@pytest.fixture
def own_folder(tmp_path: Path) -> Path:
    """A bundle that a test may damage."""
    make_bundle(tmp_path / "bundle", per_domain=2)
    return tmp_path / "bundle"


def change_manifest(folder: Path, **values: Any) -> None:
    """Overwrite top-level keys of a bundle's manifest."""
    write_json(folder / MANIFEST, read_json(folder / MANIFEST) | values)


def expected_probabilities(text: str, domain_id: int) -> np.ndarray:
    """Probabilities (C,) of the tiny graph; the mean over the heads for domain -1."""
    tokens = ["[CLS]", *text.split()[: MAX_LENGTH - 2], "[SEP]"]
    heads = token_weights(NOISE)[[VOCABULARY.index(token) for token in tokens]].sum(axis=0) + head_biases(3)
    probabilities = np.exp(heads) / np.exp(heads).sum(axis=1, keepdims=True)
    return probabilities.mean(axis=0) if domain_id < 0 else probabilities[domain_id]


def test_answers_every_text_with_its_own_domains_head(folder: Path, classifier: Classifier) -> None:
    """Prevents answers of another head, of padding, or in another order than the texts."""
    examples = read_eval(folder, classifier.manifest)
    predictions = classifier([example.text for example in examples], [example.domain for example in examples])
    for example, prediction in zip(examples, predictions, strict=True):
        expected = expected_probabilities(example.text, classifier.domain_names.index(example.domain))
        assert list(prediction.probabilities) == list(LABELS)
        np.testing.assert_allclose(list(prediction.probabilities.values()), expected, atol=1e-5)
        assert prediction.label == LABELS[int(expected.argmax())]
        assert prediction.domain == example.domain
    assert len({prediction.label for prediction in predictions}) == 2


def test_unknown_domain_is_the_mean_of_the_heads_probabilities(classifier: Classifier) -> None:
    """Prevents the unknown domain from silently being the first or the last one (index -1), or a mean of logits."""
    text = "the plot is fine"
    heads = [list(classifier([text], name)[0].probabilities.values()) for name in classifier.domain_names]
    for domain in (None, [None]):
        prediction = classifier([text], domain)[0]
        np.testing.assert_allclose(list(prediction.probabilities.values()), np.mean(heads, axis=0), atol=1e-6)
        assert prediction.domain is None
    assert np.std(heads, axis=0).max() > 0.02
    logits = classifier.run(classifier.tokenize(text), -1)
    np.testing.assert_allclose(np.exp(logits), expected_probabilities(text, -1), atol=1e-6)


def test_pairs_and_single_texts_are_not_mixed_up(classifier: Classifier, own_folder: Path) -> None:
    """Prevents a pair model from answering half of its question."""
    with pytest.raises(DataError, match="classifies single texts"):
        classifier(["good"], "books", text_pairs=["bad"])
    change_manifest(own_folder, text_pairs=True)
    pairs = Classifier.load(own_folder, threads=1)
    with pytest.raises(DataError, match="classifies pairs of texts"):
        pairs(["good"], "books")
    with pytest.raises(DataError, match="1 texts, but 2 text_pairs"):
        pairs(["good"], "books", text_pairs=["bad", "bad"])
    with pytest.raises(DataError, match="`text_pairs` is one string"):
        pairs(["good", "bad"], "books", text_pairs="no")
    tokens = ["[CLS]", "good", "[SEP]", "bad", "sad", "[SEP]"]
    assert pairs.tokenize("good", "bad sad") == [VOCABULARY.index(token) for token in tokens]
    assert pairs(["good"], "books", text_pairs=["bad sad"])[0].label == "neg"


def test_long_texts_are_cut_to_the_maximum_length(classifier: Classifier) -> None:
    """Prevents positions beyond those that the model was trained on, and a text that loses its end marker."""
    text = "good " + "the " * 30 + "bad " * 10
    tokens = classifier.tokenize(text)
    assert len(tokens) == MAX_LENGTH
    assert [VOCABULARY[tokens[0]], VOCABULARY[tokens[1]], VOCABULARY[tokens[-1]]] == ["[CLS]", "good", "[SEP]"]
    actual = list(classifier([text], "books")[0].probabilities.values())
    np.testing.assert_allclose(actual, expected_probabilities(text, 0), atol=1e-5)


def test_more_labels_than_the_graph_has_are_refused(own_folder: Path) -> None:
    """Prevents a traceback, or probabilities under the wrong names, from a manifest that does not fit its graph."""
    change_manifest(own_folder, label_names=["neg", "pos", "neutral"])
    with pytest.raises(ArtifactError, match="3 labels"):
        Classifier.load(own_folder)(["good"], "books")


@pytest.mark.parametrize("logits", [(float("nan"), 0.0), (float("inf"), 0.0), (-float("inf"), -float("inf"))])
def test_a_graph_that_computes_no_number_is_refused(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch, logits: tuple[float, float]
) -> None:
    """Prevents the first label as the answer to everything, and a complaint about a value that the user gave."""
    monkeypatch.setattr(classifier, "run", lambda *_: np.asarray(logits, dtype=np.float32))
    with pytest.raises(ArtifactError, match="which is no answer"):
        classifier(["good"], "books")


def test_a_label_that_is_impossible_is_answered(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents the refusal of a mean over heads that all give one label a probability of 0."""
    monkeypatch.setattr(classifier, "run", lambda *_: np.asarray((-np.inf, 0.0), dtype=np.float32))
    assert classifier(["good"])[0].probabilities == {"neg": 0.0, "pos": 1.0}


@pytest.mark.parametrize("name", [MODEL, TOKENIZER, EVAL])
def test_missing_file_is_refused(own_folder: Path, name: str) -> None:
    """Prevents a half-copied bundle from failing later with a message of another library."""
    (own_folder / name).unlink()
    with pytest.raises(ArtifactError, match=f"{name}` is missing"):
        Classifier.load(own_folder)


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    """Prevents a traceback for a mistyped path."""
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(ArtifactError, match="bundle"):
            Classifier.load(path)


@pytest.mark.parametrize(
    ("session", "asked", "granted", "expected"),
    [
        ({}, None, 3, 3),
        ({"intra_op_num_threads": 2}, None, 3, 2),
        ({"intra_op_num_threads": 8}, None, 3, 3),
        ({"intra_op_num_threads": 2}, 1, 3, 1),
        ({}, 4, 3, 4),
    ],
)
def test_threads_reach_onnxruntime(
    own_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    session: dict[str, int],
    asked: int | None,
    granted: int,
    expected: int,
) -> None:
    """Prevents onnxruntime's default, one thread per core of the machine, inside a small container."""
    change_manifest(own_folder, session=session)
    monkeypatch.setattr(runtime, "available_cpus", lambda: granted)
    classifier = Classifier.load(own_folder, threads=asked)
    assert classifier.threads == expected
    assert classifier._graph._session.get_session_options().intra_op_num_threads == expected

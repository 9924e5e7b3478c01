"""Flips, drops and invariance, on graphs whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from hrkd_export.quality import answer, divergence, drops, flips, invariance
from hrkd_export.texts import GraphTexts

TEXTS = GraphTexts(
    token_ids=tuple([2, 10 + index % 7, 3] if index % 2 else [2, 10 + index % 7, 11, 12, 3] for index in range(40)),
    labels=np.arange(40) % 2,
    domains=np.arange(40) // 20,
    domain_names=("books", "films"),
)


class Sums:
    """A graph whose logits are the sum of real tokens; ``leak`` adds a part of everything in the batch."""

    def __init__(self, leak: float = 0.0) -> None:
        self.leak = leak
        self.shapes: list[tuple[int, ...]] = []

    def run(self, input_ids, attention_mask, domain_ids):
        self.shapes.append(input_ids.shape)
        own = (input_ids * attention_mask).sum(axis=1) + self.leak * input_ids.size
        return np.stack([own, 20.0 + domain_ids], axis=1).astype(np.float32)


def test_texts_are_answered_alone_and_in_their_domain() -> None:
    """Answers in a batch would be those of another program than the runtime."""
    graph = Sums()
    logits = answer(graph, TEXTS)
    assert set(graph.shapes) == {(1, 3), (1, 5)}
    np.testing.assert_array_equal(logits[:, 0], [sum(ids) for ids in TEXTS.token_ids])
    np.testing.assert_array_equal(logits[:, 1], 20.0 + TEXTS.domains)


def test_a_graph_that_masks_padding_is_invariant() -> None:
    """A false alarm would forbid batches that are safe."""
    found = invariance(Sums(), TEXTS, padding_id=7)
    assert (found.padded_flips, found.batched_flips, found.largest_change) == (0.0, 0.0, 0.0)
    assert found.advice.startswith("Batches and padding are safe")


def test_dependence_on_the_batch_is_seen() -> None:
    """A dynamically quantised graph takes its ranges from the batch; nobody notices until production batches."""
    found = invariance(Sums(leak=0.1), TEXTS, padding_id=7)
    assert found.largest_change == pytest.approx(0.1 * (8 * 5 - 3), abs=1e-5)
    assert found.batched_flips > 0.0
    assert "one text at a time" in found.advice


def test_drops_are_points_lost_by_domain_with_their_sign() -> None:
    """A gain counted as a loss would make the guard keep layers in float for nothing."""
    before = np.eye(2, dtype=np.float32)[TEXTS.labels]
    after = before.copy()
    after[:5] = after[:5, ::-1]  # five of twenty books wrong
    found = drops(before, after, TEXTS)
    assert found["books"].points == pytest.approx(25.0)
    assert found["books"].low < 25.0 < found["books"].high
    assert (found["films"].points, found["films"].low, found["films"].high) == (0.0, 0.0, 0.0)
    assert drops(after, before, TEXTS)["books"].points == pytest.approx(-25.0)


def test_flips_count_changed_labels_whether_right_or_wrong() -> None:
    """Errors that cancel leave the accuracy alone and still change answers."""
    before = np.eye(2, dtype=np.float32)[TEXTS.labels]
    after = before.copy()
    after[[0, 20, 21]] = after[[0, 20, 21], ::-1]
    teacher = before[:, ::-1]
    found = flips(before, after, teacher, TEXTS)
    assert found.from_fp32 == pytest.approx(3 / 40)
    assert found.domains == pytest.approx({"books": 1 / 20, "films": 2 / 20})
    assert found.from_teacher == pytest.approx(37 / 40)


def test_divergence_agrees_with_its_definition() -> None:
    """The guard ranks nodes by it; a missing softmax would rank by the size of the logits."""
    p, q = np.array([0.7, 0.3]), np.array([0.5, 0.5])
    expected = float((p * np.log(p / q)).sum())
    assert divergence(np.log(p)[None] + 3.0, np.log(q)[None] - 1.0) == pytest.approx(expected)


def test_a_sample_is_even_over_domains_and_always_the_same() -> None:
    """Calibration on one domain ranges activations for that domain only; another sample gives another bundle."""
    sample = TEXTS.sample(3)
    assert np.bincount(sample.domains).tolist() == [3, 3]
    assert sample.token_ids == TEXTS.sample(3).token_ids
    assert len(TEXTS.of_domain("films")) == 20

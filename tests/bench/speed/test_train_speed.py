"""The training-speed benchmark: that its contestants do the same work, and that its tables say what was measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from hrkd.data.batches import WINDOW_STEPS
from hrkd.device import Device
from hrkd.errors import BenchError
from hrkd.models.attention_scores import attention_scores
from hrkd.recipe import MethodConfig, TrainingConfig
from hrkd.recipe.presets import StudentShape
from speed.train import PARTS, Entry, _measure
from speed.train_eager import EagerClassifier
from speed.train_loop import PlainLoop, check_agreement
from speed.train_shapes import all_of, mixed_lengths, random_classifier, random_examples
from speed.train_steps import HrkdStep, Taken, pad_to
from speed.train_tables import render_graphs, render_training

DOMAINS, LENGTH = 3, 24
EXAMPLES = random_examples(mixed_lengths(12, LENGTH), DOMAINS)
CPU = Device(torch.device("cpu"), torch.float32)
METHODS = [{"preset": "released"}, {}, {"graph": "reference", "attention_weight": 2.0, "hidden_weight": 0.5}]


def contestants(method: dict[str, Any]) -> tuple[HrkdStep, PlainLoop]:
    """Return both, tiny and of the same weights."""
    teacher = random_classifier(StudentShape(4, 32, 4, 64), DOMAINS, seed=1)
    student = random_classifier(StudentShape(2, 16, 4, 32), DOMAINS, seed=2)
    config = MethodConfig.model_validate(method)
    ours = HrkdStep("hrkd", teacher, student, config, EXAMPLES, CPU, TrainingConfig())
    return ours, PlainLoop("loop", ours, teacher, student, EXAMPLES, LENGTH, TrainingConfig())


@pytest.mark.parametrize("method", METHODS)
def test_the_plain_loop_does_the_same_work(method: dict[str, Any]) -> None:
    """Prevents a speed-up that comes from a loss with fewer terms, or with other weights."""
    ours, loop = contestants(method)
    batch = EXAMPLES.batch(all_of(EXAMPLES))
    assert check_agreement(ours, loop, batch) < 1e-5
    for module in (ours.objective.trainable, loop.trainable):
        module.eval()
    ours.loss(pad_to(batch, LENGTH, 0)).backward()
    loop.loss(batch).backward()
    mine = ours.objective.model.get_submodule("encoder.embeddings.word_embeddings").weight.grad
    its = loop.trainable["student"].get_submodule("classifier.encoder.embeddings.word_embeddings").weight.grad
    assert mine.abs().max() > 0
    torch.testing.assert_close(mine, its, rtol=1e-3, atol=1e-6)


def test_other_work_is_not_compared() -> None:
    """Prevents a comparison whose two losses have drifted apart from being published."""
    ours, loop = contestants({"preset": "released"})
    loop.layer_map = tuple(reversed(loop.layer_map))
    with pytest.raises(BenchError, match="not the same work"):
        check_agreement(ours, loop, EXAMPLES.batch(all_of(EXAMPLES)))


def test_written_out_attention_is_the_models_own() -> None:
    """Prevents the rivals from running another model than ours, and from comparing scores that are none."""
    source = random_classifier(StudentShape(2, 16, 4, 32), DOMAINS).eval()
    batch = EXAMPLES.batch(all_of(EXAMPLES))
    inputs = (batch.input_ids, batch.attention_mask, batch.domain_ids)
    with torch.no_grad():
        wanted = source(*inputs, hidden_states=True, attention_layers=(1, 2))
        found = EagerClassifier(source).eval()(*inputs)
    torch.testing.assert_close(found.logits, wanted.logits, rtol=1e-4, atol=1e-5)
    real = batch.attention_mask.bool()
    for one, other in zip(found.hidden_states, wanted.hidden_states, strict=True):
        torch.testing.assert_close(one[real], other[real], rtol=1e-4, atol=1e-5)
    for scores, record in zip(found.scores, wanted.attention, strict=True):
        own = attention_scores(record.query, record.key, 4)
        pairs = (real.unsqueeze(1) & real.unsqueeze(2)).unsqueeze(1).expand_as(own)
        torch.testing.assert_close(scores[pairs], own[pairs], rtol=1e-4, atol=1e-5)


def test_a_step_trains() -> None:
    """Prevents a timed step that computes a loss and forgets the update."""
    for contestant, parameter in zip(
        (pair := contestants({"preset": "released"})),
        (pair[0].objective.model.head_weight, pair[1].trainable["student"].classifier.head_weight),
        strict=True,
    ):
        before = parameter.detach().clone()
        contestant.step(all_of(EXAMPLES))
        assert not torch.equal(before, parameter)


def test_all_lengths_of_a_window_come_once() -> None:
    """Prevents a round of short texts, or of few long ones, from standing for a training."""
    window = [np.array([number]) for number in range(WINDOW_STEPS)]
    ours, _ = contestants({"preset": "released"})
    every, few = Entry(ours), Entry(ours, 2)
    seen = [int(one[0]) for part in range(PARTS) for one in every.of_part(window, part)]
    assert sorted(seen) == list(range(WINDOW_STEPS))
    assert sum(len(few.of_part(window, part)) for part in range(PARTS)) == 2


def test_a_rounds_sums_are_of_all_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents the long batches, which cost most, from being left out of a ratio: they were, by a median over parts."""
    monkeypatch.setattr("speed.train.seconds_of", lambda _, steps, __: Taken(float(sum(map(len, steps))), 0.0))
    window = [np.arange(number + 1) for number in range(WINDOW_STEPS)]
    ours, loop = contestants({"preset": "released"})
    taken = _measure([Entry(ours), Entry(loop, 2)], window, 2, CPU)
    assert taken["hrkd"]["seconds"] == taken["hrkd"]["examples"] == [WINDOW_STEPS * (WINDOW_STEPS + 1) / 2] * 2
    assert taken["loop"]["examples"] == [1 + 5] * 2


def test_graph_costs_are_told_for_both_kinds_of_teacher() -> None:
    """Prevents the cheap case from standing for the dear one: with cached answers an outer update is a larger share."""
    seconds = {"uniform": [2.0, 2.0], "meta": [2.4, 2.4]}
    case = {"device": "CPU", "examples_per_round": 640, "seconds": seconds}
    text = render_graphs(
        {
            "command": ["python"],
            "environment": {"cpu": "a processor"},
            "threads": 1,
            "steps_per_round": 10,
            "cases": [{"cached_teacher": cached, **case} for cached in (False, True)],
        }
    )
    assert "| answers cached | meta | 267 | 1.20 (1.20 to 1.20) |" in text
    assert "| runs in every step | uniform | 320 |  |" in text


@pytest.mark.parametrize(("slower", "words"), [(1.2, "held"), (1.3, "missed")])
def test_tables_say_what_was_measured(slower: float, words: str) -> None:
    """Prevents a missing rival, or a cost that grows too much, from disappearing between measurement and table."""
    text = render_training(document(slower))
    assert "| hrkd | 100 |" in text
    assert "| plain loop | 25 | 4.00 (4.00 to 4.00) |" in text
    assert "TextBrewer is missing: ImportError: gone" in text
    assert text.rstrip().endswith(f"at most 1.25 was asked for: {words}.")


def document(slower: float) -> dict[str, Any]:
    """Return a small document of :mod:`speed.train`; 16 domains cost ``slower`` times 4."""
    points = [{"value": value, "seconds_per_example": [cost] * 3} for value, cost in ((4, 0.01), (16, 0.01 * slower))]
    times = {"hrkd": 0.64, "plain loop": 2.56}
    return {
        "command": ["python"],
        "environment": {"cpu": "a processor"},
        "device": "CPU",
        "threads": 1,
        "batch_size": 16,
        "domains": 4,
        "length": 128,
        "mean_tokens": 25.0,
        "missing": {"TextBrewer": "ImportError: gone"},
        "cases": [
            {
                "objective": "released",
                "precision": "fp32",
                "disagreement": 0.0,
                "product_flops_per_second": 1e11,
                "hrkd_flops_per_example": 5e8,
                "contestants": [
                    {"name": name, "examples": [64] * 3, "seconds": [seconds] * 3} for name, seconds in times.items()
                ],
            }
        ],
        "growth": {
            "objective": "released",
            "precision": "fp32",
            "examples": 64,
            "curves": [{"what": "domains", "points": points}],
        },
    }

"""How a quantised graph answers: against the fp32 graph, against the teacher, and against itself in other company."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hrkd.bundle import Drop, Flips, Invariance
from hrkd.engines import Graph, Logits
from hrkd.metrics import paired_difference_interval
from hrkd_export.parity import pad
from hrkd_export.texts import GraphTexts

INVARIANCE_TEXTS_PER_DOMAIN = 50
BATCH = 8
SAFE_CHANGE = 1e-3
"""Changes of a logit below this are rounding, not dependence."""


def answer(graph: Graph, texts: GraphTexts) -> Logits:
    """Return the logits (n, C) of texts answered as a runtime does: one at a time, unpadded, in their own domain."""
    rows = [graph.run(feeds["input_ids"], feeds["attention_mask"], feeds["domain_id"]) for feeds in texts.feeds()]
    return np.concatenate(rows)


def answer_padded(graph: Graph, texts: GraphTexts, padding_id: int, batch: int) -> Logits:
    """Return the logits (n, C) of texts answered ``batch`` at a time, all padded to the longest text of all."""
    input_ids, attention_mask = pad(texts.token_ids, padding_id)
    rows = [
        graph.run(input_ids[first : first + batch], attention_mask[first : first + batch], ids)
        for first in range(0, len(texts), batch)
        for ids in [texts.domains[first : first + batch]]
    ]
    return np.concatenate(rows)


def invariance(graph: Graph, texts: GraphTexts, padding_id: int) -> Invariance:
    """Answer the same texts alone, padded alone, and in padded batches.

    A dynamically quantised graph takes the range of its activations from everything in the batch, padding included.

    Args:
        graph: The graph as shipped.
        texts: A sample of them is used.
        padding_id: Of the tokenizer.
    """
    chosen = texts.sample(INVARIANCE_TEXTS_PER_DOMAIN)
    alone = answer(graph, chosen)
    padded, batched = (answer_padded(graph, chosen, padding_id, batch) for batch in (1, BATCH))
    change = float(max(np.abs(other - alone).max() for other in (padded, batched)))
    flips = [float(np.mean(other.argmax(axis=1) != alone.argmax(axis=1))) for other in (padded, batched)]
    return Invariance(
        texts=len(chosen), padded_flips=flips[0], batched_flips=flips[1], largest_change=change, advice=_advice(change)
    )


def _advice(change: float) -> str:
    if change <= SAFE_CHANGE:
        return "Batches and padding are safe: answers do not depend on them."
    return "Answer one text at a time without padding, as hrkd's runtime does: answers depend on batch mates."


def drops(before: Logits, after: Logits, texts: GraphTexts) -> dict[str, Drop]:
    """Return the points of accuracy that each domain loses, with paired 95 % intervals over texts.

    Args:
        before: Logits of the fp32 graph (n, C).
        after: Of the quantised one.
        texts: Their labels and domains.
    """
    right_before, right_after = (logits.argmax(axis=1) == texts.labels for logits in (before, after))
    found = {}
    for domain, name in enumerate(texts.domain_names):
        chosen = texts.domains == domain
        if chosen.any():
            interval = paired_difference_interval(right_before[chosen], right_after[chosen], texts.domains[chosen])
            found[name] = Drop(points=100 * interval.value, low=100 * interval.low, high=100 * interval.high)
    return found


def flips(before: Logits, after: Logits, teacher: Logits, texts: GraphTexts) -> Flips:
    """Return how often labels differ from the fp32 graph's and from the teacher's; all logits (n, C)."""
    labels, exact = after.argmax(axis=1), before.argmax(axis=1)
    changed = labels != exact
    return Flips(
        from_fp32=float(changed.mean()),
        from_teacher=float(np.mean(labels != teacher.argmax(axis=1))),
        domains={
            name: float(changed[texts.domains == domain].mean())
            for domain, name in enumerate(texts.domain_names)
            if (texts.domains == domain).any()
        },
    )


def divergence(before: Logits, after: Logits) -> float:
    """Return the mean divergence KL(before || after) of the label probabilities; both (n, C)."""
    log_before, log_after = (_log_softmax(logits.astype(np.float64)) for logits in (before, after))
    return float(np.mean(np.sum(np.exp(log_before) * (log_before - log_after), axis=1)))


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = logits - logits.max(axis=1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result

"""What the figures of the domain-relational graph show, in sentences that the numbers bear out."""

from __future__ import annotations

import numpy as np

from hrkd_bench.document.graph import GraphDocument
from hrkd_bench.report.graph_figures import averaging_window

_EQUAL = 1e-4  # ratios this close to each other are called equal; the file holds rounded numbers
_LOOKS_EQUAL = 0.01  # closer than this, a largest and a smallest would be named for nothing


def is_fixed(graph: GraphDocument) -> bool:
    """Whether the recipe asked for equal ratios, and they are."""
    deviation = np.abs(np.asarray(graph.domain_ratios) - 1 / len(graph.domains)).max()
    return graph.variant == "uniform" and bool(deviation <= _EQUAL)


def has_weights(graph: GraphDocument) -> bool:
    """Whether the compare-aggregate weights say anything: there are some, and they are no plain mean of the levels."""
    return any(max(row) - min(row) > _EQUAL for rows in graph.hierarchical_ratios for row in rows)


def introduction(graph: GraphDocument) -> str:
    """Say which graph it is and how far its ratios can be trusted."""
    equal = f"1/K = {1 / len(graph.domains):.3g}"
    if is_fixed(graph):
        return f"Graph: {graph.variant}. The domain ratios are fixed at {equal}, at every level and in every step."
    meaning = (
        "A domain ratio says how much a domain counts in what the student imitates at a level. The ratios of a level "
        f"sum to 1; at {equal} all domains count the same."
    )
    match graph.variant:
        case "reference":
            return (
                "Graph: reference, the released one. It is never trained: its parameters stay as they were drawn, and "
                f"the spread around {equal} is dropout noise, not something learned. {meaning}"
            )
        case "meta":
            return f"Graph: meta, trained on held-out batches of every domain. {meaning}"
        case _:
            return f"Graph: {graph.variant}. {meaning}"


def ratios_caption(graph: GraphDocument) -> str:
    """Say how the lines came about and where they end."""
    recorded = len(graph.steps)
    window = averaging_window(recorded)
    drawn = (
        f"Faint: {recorded} recorded steps; strong: their running mean over {window}."
        if window > 1
        else f"{recorded} recorded step{'s' if recorded > 1 else ''}."
    )
    ratios = np.asarray(graph.domain_ratios)  # (S, L+1, K)
    span = f" Single steps lie between {ratios.min():.2f} and {ratios.max():.2f}." if window > 1 else ""
    last = min(recorded, max(1, recorded // 10))
    means = ratios[-last:].mean(axis=0)  # (L+1, K)
    when = f"On average over the last {last} recorded steps" if last > 1 else f"In step {graph.steps[-1]}"
    if means.max() - means.min() < _LOOKS_EQUAL:
        return f"{drawn}{span} {when} all ratios are within {_LOOKS_EQUAL} of each other."
    largest, smallest = (_place(graph, means, index) for index in (means.argmax(), means.argmin()))
    return f"{drawn}{span} {when} the largest ratio is {largest}, the smallest {smallest}."


def weights_caption(graph: GraphDocument) -> str:
    """Say what a row of the heat maps is."""
    caption = (
        f"Step {graph.steps[-1]}, the last recorded one. Before the graph compares the domains at a level, it mixes "
        "the prototypes that each domain has at this level and at those below it. A row holds the weights of this "
        "mixture and sums to 1; the stronger the tint, the larger the weight."
    )
    if graph.variant == "reference":
        caption += " They come from parameters that were drawn at random and never trained."
    return caption


def no_weights_note(graph: GraphDocument) -> str:
    """Say why there are no heat maps."""
    if graph.hierarchical_ratios:
        return "The levels are not weighted: each is mixed with those below it in equal parts."
    return "Each level stands for itself: without the hierarchy there are no compare-aggregate weights."


def _place(graph: GraphDocument, means: np.ndarray, index: np.intp) -> str:
    level, domain = np.unravel_index(index, means.shape)
    return f"{means[level, domain]:.2f} ({graph.domains[domain]}, level {level})"

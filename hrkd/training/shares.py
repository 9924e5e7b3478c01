"""One batch spread over several processes: which rows each one takes, and the whole from what each one computed.

Several processes with batches of b texts are one with a batch of all of them: every term is a mean over texts, tokens
or pairs of tokens of a domain, so the whole follows from each part's mean and the count behind it; prototypes are means
as well, and ratios follow from them. All processes then hold the same terms, prototypes, ratios and loss.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hrkd.data.collate import Batch
from hrkd.distributed import from_main, rank, world_size
from hrkd.errors import DistributedError
from hrkd.losses import (
    LossTerms,
    active_parts,
    domain_counts,
    labelled_counts,
    mean_over_ranks,
    pair_mask,
)
from hrkd.recipe import AttentionTerm


class Comparison(NamedTuple):
    """One batch, compared.

    Attributes:
        terms: All terms.
        prototypes: P, (L+1, K, H); None where nothing is imitated in this phase.
    """

    terms: LossTerms
    prototypes: Tensor | None


def own_rows(indices: NDArray[np.int64], num_domains: int) -> NDArray[np.int64]:
    """Return this process's share of a step's examples, the same number of every domain.

    A domain's examples lie by length; dealt out in turn, every process gets short and long ones.

    Args:
        indices: Of all processes together, (K*B,), in domain order.
        num_domains: K.

    Raises:
        DistributedError: There are more processes than examples of a domain.
    """
    if world_size() == 1:
        return indices
    by_domain = indices.reshape(num_domains, -1)
    if by_domain.shape[1] < world_size():
        raise DistributedError(
            f"{world_size()} processes cannot share a batch of {by_domain.shape[1]} texts per domain",
            hint="go on with fewer processes, or start over with --no-resume",
        )
    return np.ascontiguousarray(by_domain[:, rank() :: world_size()]).ravel()


def whole_comparison(
    own: Comparison, batch: Batch, num_domains: int, attention: AttentionTerm, example_weights: Tensor | None
) -> Comparison:
    """Return the comparison of the whole batch from that of this process's rows, and of this part of them.

    Args:
        own: What this process computed.
        batch: Its rows.
        num_domains: K.
        attention: Decides over what the attention terms are means.
        example_weights: (K*B,), with which the imitation terms were computed.
    """
    if world_size() == 1 and active_parts() is None:
        return own
    terms, mask = own.terms, batch.attention_mask
    tokens = domain_counts(mask, num_domains, example_weights)
    pairs = domain_counts(pair_mask(mask), num_domains, example_weights)
    prototypes = [] if own.prototypes is None else [own.prototypes]
    hidden, scores, prediction, label, *whole = mean_over_ranks(
        [terms.hidden, terms.attention, terms.prediction, terms.label, *prototypes],
        [
            tokens,
            pairs if attention is AttentionTerm.SCORES else tokens,
            row_counts(batch.labels, num_domains),
            labelled_counts(batch.labels, num_domains),
            *(domain_counts(mask, num_domains).unsqueeze(-1) for _ in prototypes),  # (K, 1) for (L+1, K, H)
        ],
    )
    return Comparison(LossTerms(hidden, scores, prediction, label), whole[0] if whole else None)


def row_counts(labels: Tensor, num_domains: int) -> Tensor:
    """Return the number of rows of each domain, for the labels (K*B,): (K,) int64."""
    return torch.full((num_domains,), len(labels) // num_domains, device=labels.device)


@contextmanager
def common_noise(device: torch.device) -> Iterator[None]:
    """Draw the same random numbers in all processes and parts: what is computed from the whole must come out alike.

    The released graph has dropout; with noise of their own, processes would weigh one batch by several ratios.
    """
    parts = active_parts()
    if world_size() == 1 and parts is None:
        yield
        return
    seed = from_main(torch.randint(2**62, (1,))).item() if parts is None else parts.noise_seed
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(seed))
        yield

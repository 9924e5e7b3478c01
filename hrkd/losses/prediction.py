"""The terms on the logits: soft cross-entropy with the teacher (Hinton et al. 2015, section 2), and with the labels."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from hrkd.data.dataset import NO_LABEL
from hrkd.precision import at_least_float32


def soft_cross_entropy(student: Tensor, teacher: Tensor, num_domains: int, temperature: float = 1.0) -> Tensor:
    """Cross-entropy of the student's distribution under the teacher's, both softened: ``-tau^2 sum_c p_c log q_c``.

    Summed over classes, averaged over the examples of a domain, times tau^2 so that its gradient keeps its size. The
    released code averages over classes as well and has no tau^2, i.e. its value is this one divided by C at tau = 1.
    At student == teacher the value is the teacher's entropy, not 0; the gradient is 0.

    Args:
        student: Logits (K*B, C); rows are K equal blocks in domain order.
        teacher: Logits (K*B, C).
        num_domains: K.
        temperature: tau.

    Returns:
        (K,) float32.
    """
    target = (at_least_float32(teacher) / temperature).softmax(dim=-1)
    log_probabilities = (at_least_float32(student) / temperature).log_softmax(dim=-1)
    per_example = -(target * log_probabilities).sum(dim=-1) * temperature**2
    per_domain: Tensor = per_example.unflatten(0, (num_domains, -1)).mean(dim=1)
    return per_domain


def label_cross_entropy(logits: Tensor, labels: Tensor, num_domains: int) -> Tensor:
    """Cross-entropy with the labels, averaged over the labelled examples of each domain.

    Args:
        logits: (K*B, C); rows are K equal blocks in domain order.
        labels: (K*B,), ``NO_LABEL`` where there is none.
        num_domains: K.

    Returns:
        (K,) float32; 0 for a domain without a label in this batch.
    """
    per_example = F.cross_entropy(at_least_float32(logits), labels, reduction="none", ignore_index=NO_LABEL)
    labelled = labelled_counts(labels, num_domains)
    per_domain: Tensor = per_example.unflatten(0, (num_domains, -1)).sum(dim=1) / labelled.clamp(min=1)
    return per_domain


def labelled_counts(labels: Tensor, num_domains: int) -> Tensor:
    """Return how many of the labels (K*B,) of each domain are known: (K,) int64."""
    counts: Tensor = (labels != NO_LABEL).unflatten(0, (num_domains, -1)).sum(dim=1)
    return counts

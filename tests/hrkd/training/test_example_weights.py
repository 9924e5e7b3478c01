"""Meta-KD's weights per example: what counts more, and at which scale."""

from __future__ import annotations

import torch

from hrkd.data.dataset import NO_LABEL
from hrkd.training.example_weights import OWN_DOMAIN, domain_expertise_weights
from largest_tensor import LargestTensor

DOMAINS = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
LABELS = torch.tensor([0, 0, 1, 1, 0, 0, 1, 1])


def make_features() -> torch.Tensor:
    """Labels lie in opposite directions; within a label and domain the second text lies a little apart."""
    towards = torch.where(LABELS == 0, 1.0, -1.0)
    apart = torch.tensor([0.0, 0.8] * 4)
    return torch.stack([towards, apart, 0.2 * DOMAINS.float()], dim=1)


def make_logits(confidence: float = 4.0) -> torch.Tensor:
    """The teacher is right everywhere, equally sure."""
    right = torch.nn.functional.one_hot(LABELS, 2).float()
    return confidence * right


def test_weights_equal_the_equation() -> None:
    """A cosine with the wrong prototype, or a missed exponent, still gives plausible positive numbers."""
    features, logits = make_features(), make_logits()
    logits[0] = torch.tensor([0.0, 1.0])
    unit = features / features.norm(dim=1, keepdim=True)

    def prototype(domain: int, label: int) -> torch.Tensor:
        mean = unit[(domain == DOMAINS) & (label == LABELS)].mean(dim=0)
        return mean / mean.norm()

    expected = []
    for row in range(8):
        domain, label = int(DOMAINS[row]), int(LABELS[row])
        score = OWN_DOMAIN * unit[row] @ prototype(domain, label)
        score = score + (1 - OWN_DOMAIN) * unit[row] @ prototype(1 - domain, label)
        missed = 1 - logits[row].softmax(0)[label]
        expected.append((1 + score) / ((missed**2).exp() + 1))
    raw = torch.stack(expected)
    means = torch.stack([raw[:4].mean()] * 4 + [raw[4:].mean()] * 4)
    torch.testing.assert_close(domain_expertise_weights(features, logits, LABELS, DOMAINS, 2), raw / means)


def test_memory_does_not_grow_with_the_number_of_domains() -> None:
    """A prototype for every text and domain is 31 GB for a million texts, where the features are 3 GB."""
    texts, width, domains = 96, 32, 8
    features, logits = torch.randn(texts, width), torch.randn(texts, 2)
    labels, domain_ids = torch.arange(texts) % 2, torch.arange(texts) // 2 % domains
    with LargestTensor() as largest:
        domain_expertise_weights(features, logits, labels, domain_ids, domains)
    assert largest.values == texts * width


def test_typical_and_well_answered_texts_count_more() -> None:
    """With the sign turned, the student would learn from what its teacher does not know."""
    weights = domain_expertise_weights(make_features(), make_logits(), LABELS, DOMAINS, 2)
    logits = make_logits()
    logits[0] = torch.tensor([0.0, 4.0])
    missed = domain_expertise_weights(make_features(), logits, LABELS, DOMAINS, 2)
    assert missed[0] < weights[0]
    features = make_features()
    features[1] = -features[1]
    atypical = domain_expertise_weights(features, make_logits(), LABELS, DOMAINS, 2)
    assert atypical[1] < weights[1]


def test_each_domain_keeps_its_scale_and_texts_without_a_label_count_once() -> None:
    """A domain whose teacher is weak would silently lose its part of the loss."""
    logits = make_logits()
    logits[4:] = 0.0
    weights = domain_expertise_weights(make_features(), logits, LABELS, DOMAINS, 2)
    torch.testing.assert_close(weights[:4].mean(), torch.tensor(1.0))
    torch.testing.assert_close(weights[4:].mean(), torch.tensor(1.0))
    labels = LABELS.clone()
    labels[2:4] = NO_LABEL
    partly = domain_expertise_weights(make_features(), make_logits(), labels, DOMAINS, 2)
    assert partly[2:4].tolist() == [1.0, 1.0]
    torch.testing.assert_close(partly[:2].mean(), torch.tensor(1.0))

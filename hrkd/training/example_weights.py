"""Weights per example: the domain-expertise weights of Meta-KD (Pan et al. 2021, arXiv 2012.01266, section 3.3).

A text counts more the closer it lies to the class prototypes of its own and of the other domains (it carries what
transfers), and the better the teacher answers it. The paper's loss on transferable features needs its own teacher,
trained against a domain classifier; every method here has the same teacher, so that loss is left out.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hrkd.data.collate import TokenizedExamples
from hrkd.device import Device
from hrkd.evaluation import EVALUATION_BATCH
from hrkd.models import Teacher
from hrkd.precision import at_least_float32

OWN_DOMAIN = 0.5
"""Part of the prototype score that comes from the own domain's prototype; the other domains share the rest."""


def domain_expertise_weights(
    features: Tensor, logits: Tensor, labels: Tensor, domain_ids: Tensor, num_domains: int
) -> Tensor:
    """Return ``(1 + t) / (exp((1 - p(label))^2) + 1)``, ``t`` being the prototype score, with mean 1 in each domain.

    ``t = a cos(p[k, y], h) + (1 - a) mean_{j != k} cos(p[j, y], h)``, where ``p[k, y]`` is the mean feature of the
    texts of domain k with label y.

    Args:
        features: h, the teacher's sentence features (n, H).
        logits: Of the teacher (n, C).
        labels: (n,), -1 where there is none: such a text gets the weight 1.
        domain_ids: (n,).
        num_domains: K.

    Returns:
        (n,) float32.
    """
    directions = F.normalize(at_least_float32(features), dim=-1)
    num_labels = logits.shape[-1]
    prototypes = torch.zeros(num_domains, num_labels, directions.shape[-1])
    for domain in range(num_domains):
        for label in range(num_labels):
            members = (domain_ids == domain) & (labels == label)
            if members.any():
                prototypes[domain, label] = F.normalize(directions[members].mean(dim=0), dim=-1)
    known = labels.clamp(min=0)
    # With all prototypes, then the own label's: a prototype for each text would be K times as large as all features.
    with_all = (directions @ prototypes.flatten(0, 1).T).unflatten(1, (num_domains, num_labels))  # (n, K, C)
    cosines = with_all.gather(2, known.view(-1, 1, 1).expand(-1, num_domains, 1)).squeeze(2)  # (n, K)
    own = cosines.gather(1, domain_ids.unsqueeze(1)).squeeze(1)
    others = (cosines.sum(dim=1) - own) / max(1, num_domains - 1)
    score = OWN_DOMAIN * own + (1.0 - OWN_DOMAIN) * others
    missed = 1.0 - at_least_float32(logits).softmax(dim=-1).gather(1, known.unsqueeze(1)).squeeze(1)
    weights = (1.0 + score) / (missed.square().exp() + 1.0)
    for domain in range(num_domains):
        members = (domain_ids == domain) & (labels >= 0)
        weights[members] /= weights[members].mean()
    return torch.where(labels >= 0, weights, torch.ones_like(weights))


@torch.no_grad()
def meta_kd_weights(teacher: Teacher, examples: TokenizedExamples, device: Device) -> Tensor:
    """Run the teacher over the training texts and weigh them; features are means of its last layer over real tokens.

    Args:
        teacher: On ``device``.
        examples: Training split as the teacher reads it.
        device: Where to run, and in which number format.

    Returns:
        (n,) float32 on the CPU.
    """
    teacher.eval()
    features = np.empty((len(examples), teacher.hidden_size), dtype=np.float32)
    logits = np.empty((len(examples), len(teacher.config.label_names)), dtype=np.float32)
    for indices, batch in examples.iterate_in_order(EVALUATION_BATCH):
        moved = batch.to(device.device)
        with device.autocast():
            output = teacher(moved.input_ids, moved.attention_mask, moved.domain_ids, hidden_states=True)
        mask = moved.attention_mask.unsqueeze(-1)
        means = (output.hidden_states[-1].float() * mask).sum(dim=1) / mask.sum(dim=1)
        features[indices], logits[indices] = _numpy(means), _numpy(output.logits)
    labels, domains = torch.from_numpy(examples.labels), torch.from_numpy(examples.domains)
    return domain_expertise_weights(
        torch.from_numpy(features), torch.from_numpy(logits), labels, domains, teacher.num_domains
    )


def _numpy(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.float().cpu().numpy()
    return array

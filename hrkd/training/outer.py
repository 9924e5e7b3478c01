"""The outer (bilevel) objective: which ratios would have made the updated student predict better on other batches.

After a step with rate lr on ``sum_{l,k} R[l,k] L[l,k]``, the chain rule gives

    d outer / d R[l,k] = -lr * <v, grad L[l,k]>,    v = grad of the outer loss at the updated student

(method.md section 6). The product is a directional derivative, so two evaluations of all terms on both sides of the
student give it for all levels and domains at once, as in DARTS (arXiv 1806.09055, section 2.3):

    <v, grad L[l,k]> = ||v|| (L[l,k](student + r v / ||v||) - L[l,k](student - r v / ||v||)) / 2r

Two approximations: the step counts as plain gradient descent, and where the caller measures after its optimizer step,
``grad L`` is taken there instead of one step earlier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from hrkd.recipe import OuterLoss

RADIUS = 0.01
"""Length of the shift to either side, over all parameters together (DARTS)."""

EVENNESS = 1.0
"""Weight of the pull towards equal ratios, beside an outer gradient of size one (docs/log.md)."""

SMALLEST_SPREAD = 1e-4
"""Differences between domains below this part of the largest entry are rounding, not a wish."""


def outer_loss(prediction: Tensor, outer: OuterLoss) -> Tensor:
    """Reduce the prediction losses of the domains (K,) on held-out batches to the scalar that the ratios serve."""
    return prediction.max() if outer is OuterLoss.WORST else prediction.mean()


def outer_direction(loss: Tensor, student: nn.Module) -> list[Tensor]:
    """Return v, the gradient of the outer loss for every trainable parameter of ``student``, without storing it there.

    Args:
        loss: Scalar from :func:`outer_loss`, computed inside :func:`without_noise`.
        student: What the terms are measured on; parameters that the loss does not reach get zeros.
    """
    return list(torch.autograd.grad(loss, trainable_parameters(student), allow_unused=True, materialize_grads=True))


def ratio_gradient(
    student: nn.Module,
    direction: Sequence[Tensor],
    terms: Callable[[], Tensor],
    learning_rate: float,
    *,
    radius: float = RADIUS,
) -> Tensor:
    """Return ``d outer / d R[l,k]`` by a central difference of the terms along ``direction``.

    Dropout is off, both sides see the same random numbers, and autocast is off: in bfloat16, rounding would be larger
    than the difference. Parameters, modes and random state are afterwards what they were, bit for bit, also after an
    error.

    Args:
        student: Module whose trainable parameters are shifted, e.g. student and projections.
        direction: v, one tensor per trainable parameter, from :func:`outer_direction`.
        terms: Recomputes on the inner batch the weighted imitation terms (L+1, K) that the ratios multiply.
        learning_rate: Of the inner step.
        radius: Length of the shift.

    Returns:
        (L+1, K), detached; zeros where ``direction`` is zero.
    """
    parameters = trainable_parameters(student)
    length = torch.stack([torch.linalg.vector_norm(part) for part in direction]).norm().item()
    device = parameters[0].device.type
    with torch.no_grad(), torch.autocast(device, enabled=False), without_noise(student):
        if length == 0.0:
            return torch.zeros_like(terms())
        above = _shifted(parameters, direction, radius / length, terms)
        below = _shifted(parameters, direction, -radius / length, terms)
    gradient: Tensor = (above - below) * (-learning_rate * length / (2.0 * radius))
    return gradient


def ratio_surrogate(gradient: Tensor, ratios: Tensor, *, evenness: float = EVENNESS) -> Tensor:
    """Return the scalar that the graph descends: ``sum_{l,k} g[l,k] R[l,k] + evenness * sum_l KL(R[l] || 1/K)``.

    ``g`` is the gradient with each level's mean over domains taken off, because ratios sum to 1 and cannot follow it,
    and divided by its root mean square, because its size falls with the student's learning rate and loss. So ``g`` has
    the same size whether it says something or is noise of two batches; the second term tells them apart. Ratios come
    to rest at ``softmax(-mean g / evenness)``: uniform where the mean over updates is zero, far from it only where
    updates agree.

    Args:
        gradient: From :func:`ratio_gradient`, (L+1, K); all zeros count as no wish.
        ratios: R with its graph, (L+1, K), positive.
        evenness: Weight of the second term.
    """
    centred = gradient - gradient.mean(dim=1, keepdim=True)
    smallest = SMALLEST_SPREAD * gradient.abs().max() + torch.finfo(gradient.dtype).tiny
    normalized = centred / torch.maximum(centred.square().mean().sqrt(), smallest)
    divergence = ratios * (ratios.clamp_min(torch.finfo(ratios.dtype).eps) * ratios.shape[1]).log()
    return (normalized * ratios + evenness * divergence).sum()


@contextmanager
def without_noise(module: nn.Module) -> Iterator[None]:
    """Put the module into evaluation mode and fork the random state; put both back at the end."""
    modes = [(part, part.training) for part in module.modules()]
    cuda = {parameter.device for parameter in module.parameters() if parameter.device.type == "cuda"}
    with torch.random.fork_rng(devices=list(cuda)):
        module.eval()
        try:
            yield
        finally:
            for part, training in modes:
                part.training = training


def trainable_parameters(module: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that require a gradient, each once."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def _shifted(
    parameters: Sequence[nn.Parameter], direction: Sequence[Tensor], factor: float, terms: Callable[[], Tensor]
) -> Tensor:
    """Evaluate the terms at ``parameters + factor * direction``; copies put the parameters back, not arithmetic."""
    originals = [parameter.clone() for parameter in parameters]
    try:
        for parameter, part in zip(parameters, direction, strict=True):
            parameter.add_(part, alpha=factor)
        with torch.random.fork_rng(devices=[p.device for p in parameters[:1] if p.device.type == "cuda"]):
            return terms()
    finally:
        for parameter, original in zip(parameters, originals, strict=True):
            parameter.copy_(original)

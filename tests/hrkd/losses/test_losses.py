"""The loss terms as mathematics: zeros, invariances, agreement with slow loops, gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hrkd.data.dataset import NO_LABEL
from hrkd.losses import (
    LossTerms,
    attention_error,
    combine_terms,
    hidden_error,
    label_cross_entropy,
    relation_error,
    soft_cross_entropy,
)
from hrkd.recipe import TermWeights
from hrkd.relation import domain_prototypes

DOMAINS, BATCH, TOKENS, WIDTH, HEADS, CLASSES = 3, 2, 5, 4, 2, 3
ROWS = DOMAINS * BATCH


def random_mask(generator: torch.Generator) -> Tensor:
    """Real tokens first, at least one in each row."""
    lengths = torch.randint(1, TOKENS + 1, (ROWS,), generator=generator)
    return (torch.arange(TOKENS) < lengths.unsqueeze(1)).long()


def random_states(generator: torch.Generator) -> Tensor:
    return torch.randn(ROWS, TOKENS, WIDTH, dtype=torch.float64, generator=generator)


def random_scores(generator: torch.Generator) -> Tensor:
    return torch.randn(ROWS, HEADS, TOKENS, TOKENS, dtype=torch.float64, generator=generator)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_hidden_error_equals_a_slow_loop(seed: int) -> None:
    """A mean over the wrong axis, or over padding, changes each domain's scale without any error."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher, mask = random_states(generator), random_states(generator), random_mask(generator)
    expected = []
    for domain in range(DOMAINS):
        errors = [
            (student[row, token, feature] - teacher[row, token, feature]) ** 2
            for row in range(domain * BATCH, (domain + 1) * BATCH)
            for token in range(TOKENS)
            if mask[row, token]
            for feature in range(WIDTH)
        ]
        expected.append(sum(errors) / len(errors))
    torch.testing.assert_close(hidden_error(student, teacher, mask, DOMAINS), torch.stack(expected))


@given(seed=st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_attention_error_equals_a_slow_loop(seed: int) -> None:
    """Padding on the query side or the key side only would still count; both must be real."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher, mask = random_scores(generator), random_scores(generator), random_mask(generator)
    expected = []
    for domain in range(DOMAINS):
        errors = [
            (student[row, head, query, key] - teacher[row, head, query, key]) ** 2
            for row in range(domain * BATCH, (domain + 1) * BATCH)
            for head in range(HEADS)
            for query in range(TOKENS)
            for key in range(TOKENS)
            if mask[row, query] and mask[row, key]
        ]
        expected.append(sum(errors) / len(errors))
    torch.testing.assert_close(attention_error(student, teacher, mask, DOMAINS), torch.stack(expected))


@pytest.mark.parametrize("extra", [1, 7])
def test_padding_changes_no_term(extra: int) -> None:
    """Otherwise the loss of a text depends on how long its neighbours in the batch are."""
    generator = torch.Generator().manual_seed(3)
    student, teacher, mask = random_states(generator), random_states(generator), random_mask(generator)
    scores, teacher_scores = random_scores(generator), random_scores(generator)

    def padded(tensor: Tensor, value: float) -> Tensor:
        widths = (0, extra, 0, extra) if tensor.dim() == 4 else (0, 0, 0, extra)
        return torch.nn.functional.pad(tensor, widths, value=value)

    longer = torch.nn.functional.pad(mask, (0, extra))
    pairs = [
        (
            hidden_error(student, teacher, mask, DOMAINS),
            hidden_error(padded(student, 9.0), padded(teacher, -9.0), longer, DOMAINS),
        ),
        (
            attention_error(scores, teacher_scores, mask, DOMAINS),
            attention_error(padded(scores, 9.0), padded(teacher_scores, -9.0), longer, DOMAINS),
        ),
        (
            relation_error(student, teacher, mask, DOMAINS, heads=HEADS),
            relation_error(padded(student, 9.0), padded(teacher, -9.0), longer, DOMAINS, heads=HEADS),
        ),
        (
            hidden_error(student, teacher, mask, DOMAINS, normalize=True),
            hidden_error(padded(student, 9.0), padded(teacher, -9.0), longer, DOMAINS, normalize=True),
        ),
        (domain_prototypes([student], mask, DOMAINS), domain_prototypes([padded(student, 9.0)], longer, DOMAINS)),
    ]
    for short, long in pairs:
        torch.testing.assert_close(short, long)


def test_errors_and_gradients_vanish_at_the_teacher() -> None:
    """A student equal to its teacher must not be pushed anywhere."""
    generator = torch.Generator().manual_seed(0)
    mask = random_mask(generator)
    states, scores = random_states(generator), random_scores(generator)
    logits = torch.randn(ROWS, CLASSES, dtype=torch.float64, generator=generator)
    cases = [
        (hidden_error, states, (mask, DOMAINS)),
        (attention_error, scores, (mask, DOMAINS)),
        (soft_cross_entropy, logits, (DOMAINS, 2.0)),
    ]
    for function, teacher, rest in cases:
        student = teacher.clone().requires_grad_()
        value = function(student, teacher, *rest)
        value.sum().backward()
        torch.testing.assert_close(student.grad, torch.zeros_like(teacher))
        if function is not soft_cross_entropy:
            torch.testing.assert_close(value, torch.zeros_like(value))


def test_soft_cross_entropy_is_entropy_at_the_teacher_and_larger_elsewhere() -> None:
    """Cross-entropy is documented as such; a silent KL (minus entropy) would change every logged number."""
    generator = torch.Generator().manual_seed(1)
    teacher = torch.randn(ROWS, CLASSES, dtype=torch.float64, generator=generator)
    student = torch.randn(ROWS, CLASSES, dtype=torch.float64, generator=generator)
    probabilities = teacher.softmax(-1)
    entropy = -(probabilities * probabilities.log()).sum(-1).unflatten(0, (DOMAINS, -1)).mean(1)
    torch.testing.assert_close(soft_cross_entropy(teacher, teacher, DOMAINS), entropy)
    assert bool((soft_cross_entropy(student, teacher, DOMAINS) > entropy).all())


def test_temperature_keeps_the_size_of_the_gradient() -> None:
    """Without tau^2 a higher temperature silently turns the prediction term off."""
    generator = torch.Generator().manual_seed(2)
    teacher = 0.01 * torch.randn(ROWS, CLASSES, dtype=torch.float64, generator=generator)
    norms = []
    for temperature in (1.0, 8.0):
        student = torch.zeros(ROWS, CLASSES, dtype=torch.float64, requires_grad=True)
        soft_cross_entropy(student, teacher, DOMAINS, temperature).sum().backward()
        assert student.grad is not None
        norms.append(student.grad.norm())
    torch.testing.assert_close(norms[0], norms[1], rtol=0.02, atol=0.0)


def test_gradcheck_of_all_terms() -> None:
    """Analytic gradients must equal numeric ones in float64."""
    generator = torch.Generator().manual_seed(4)
    mask = random_mask(generator)
    states, scores = random_states(generator), random_scores(generator)
    logits = torch.randn(ROWS, CLASSES, dtype=torch.float64, generator=generator)
    other = [torch.randn_like(tensor) for tensor in (states, scores, logits)]
    assert torch.autograd.gradcheck(lambda x: hidden_error(x, other[0], mask, DOMAINS), states.requires_grad_())
    assert torch.autograd.gradcheck(
        lambda x: hidden_error(x, other[0], mask, DOMAINS, normalize=True), states.requires_grad_()
    )
    assert torch.autograd.gradcheck(
        lambda x: relation_error(x, other[0], mask, DOMAINS, heads=HEADS), states.requires_grad_()
    )
    assert torch.autograd.gradcheck(lambda x: attention_error(x, other[1], mask, DOMAINS), scores.requires_grad_())
    assert torch.autograd.gradcheck(lambda x: soft_cross_entropy(x, other[2], DOMAINS, 3.0), logits.requires_grad_())


def test_combined_loss_equals_the_equation() -> None:
    """Ratios must weigh embedding, hidden and attention alike; the prediction term must not be weighed by them."""
    generator = torch.Generator().manual_seed(5)
    levels = 4
    hidden, attention = (torch.rand(levels, DOMAINS, generator=generator) for _ in range(2))
    attention[0] = 0.0
    prediction, label = (torch.rand(DOMAINS, generator=generator) for _ in range(2))
    ratios = torch.rand(levels, DOMAINS, generator=generator).softmax(-1)
    expected = 0.0
    for domain in range(DOMAINS):
        expected += 0.3 * ratios[0, domain] * hidden[0, domain]
        expected += (2.0 * prediction[domain] + 0.7 * label[domain]) / DOMAINS
        for level in range(1, levels):
            expected += ratios[level, domain] * (0.5 * attention[level, domain] + 0.3 * hidden[level, domain])
    actual = combine_terms(LossTerms(hidden, attention, prediction, label), ratios, TermWeights(0.3, 0.5, 2.0, 0.7))
    torch.testing.assert_close(actual, expected)


def test_shape_mismatch_names_both_shapes() -> None:
    """Broadcasting a narrower student would train at a plausible-looking loss."""
    states = torch.zeros(ROWS, TOKENS, WIDTH)
    with pytest.raises(ValueError, match=r"student \(6, 5, 1\) and teacher \(6, 5, 4\)"):
        hidden_error(states[..., :1], states, torch.ones(ROWS, TOKENS), DOMAINS)
    scores = torch.zeros(ROWS, HEADS, TOKENS, TOKENS)
    with pytest.raises(ValueError, match="same number of heads"):
        attention_error(scores[:, :1], scores, torch.ones(ROWS, TOKENS), DOMAINS)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_relation_error_equals_a_slow_loop_over_other_widths(seed: int) -> None:
    """Head split, key mask or normalisation over the wrong axis would still give a smooth, falling loss."""
    generator = torch.Generator().manual_seed(seed)
    student, mask = random_states(generator), random_mask(generator)
    teacher = torch.randn(ROWS, TOKENS, 3 * WIDTH, dtype=torch.float64, generator=generator)
    expected = []
    for domain in range(DOMAINS):
        divergences = []
        for row in range(domain * BATCH, (domain + 1) * BATCH):
            real = int(mask[row].sum())
            for token in range(real):
                for head in range(HEADS):
                    logs = []
                    for states in (student, teacher):
                        depth = states.shape[-1] // HEADS
                        part = states[row, :real, head * depth : (head + 1) * depth]
                        logs.append((part @ part[token] / depth**0.5).log_softmax(-1))
                    divergences.append((logs[1].exp() * (logs[1] - logs[0])).sum())
        expected.append(sum(divergences) / len(divergences))
    torch.testing.assert_close(relation_error(student, teacher, mask, DOMAINS, heads=HEADS), torch.stack(expected))


def test_relations_vanish_for_a_rotated_student() -> None:
    """Relations see inner products within a head only: that is why widths may differ."""
    generator = torch.Generator().manual_seed(6)
    teacher, mask = random_states(generator), random_mask(generator)
    rotation = torch.block_diag(*(torch.linalg.qr(torch.randn(2, 2, dtype=torch.float64, generator=generator))[0],) * 2)
    error = relation_error(teacher @ rotation, teacher, mask, DOMAINS, heads=HEADS)
    torch.testing.assert_close(error, torch.zeros_like(error), rtol=0.0, atol=1e-12)
    assert bool((relation_error(teacher.flip(-1) * 2, teacher, mask, DOMAINS, heads=HEADS) > 1e-3).all())
    with pytest.raises(ValueError, match="not a multiple of 3"):
        relation_error(teacher, teacher, mask, DOMAINS, heads=3)


def test_the_normalized_error_ignores_scale_and_shift() -> None:
    """Levels differ tenfold in scale; unnormalised, the largest level is the only one that is imitated."""
    generator = torch.Generator().manual_seed(7)
    student, teacher, mask = random_states(generator), random_states(generator), random_mask(generator)
    plain = hidden_error(student, teacher, mask, DOMAINS, normalize=True)
    scaled = hidden_error(100 * student + 3, teacher, mask, DOMAINS, normalize=True)
    torch.testing.assert_close(plain, scaled, rtol=1e-4, atol=1e-4)
    assert bool((plain > 0.1).all())


@pytest.mark.parametrize("kind", ["hidden", "attention", "relation"])
def test_example_weights_are_relative_and_drop_an_example_at_zero(kind: str) -> None:
    """Weights that change the loss scale would be a hidden change of the hidden weight."""
    generator = torch.Generator().manual_seed(8)
    mask = random_mask(generator)
    make = random_scores if kind == "attention" else random_states
    student, teacher = make(generator), make(generator)
    function = {"hidden": hidden_error, "attention": attention_error, "relation": relation_error}[kind]
    options = {"heads": HEADS} if kind == "relation" else {}

    def error(weights: Tensor | None) -> Tensor:
        return function(student, teacher, mask, DOMAINS, example_weights=weights, **options)  # type: ignore[operator]

    torch.testing.assert_close(error(None), error(torch.full((ROWS,), 0.3)))
    first_only = torch.tensor([1.0, 0.0] * DOMAINS)
    rows = torch.arange(0, ROWS, 2)
    alone = function(student[rows], teacher[rows], mask[rows], DOMAINS, **options)  # type: ignore[operator]
    torch.testing.assert_close(error(first_only), alone)


def test_texts_without_a_label_have_no_label_loss() -> None:
    """Counting them in the mean would shrink the label term of a domain with many of them."""
    generator = torch.Generator().manual_seed(9)
    logits = torch.randn(ROWS, CLASSES, dtype=torch.float64, generator=generator)
    labels = torch.tensor([0, NO_LABEL, 1, 2, NO_LABEL, NO_LABEL])
    errors = label_cross_entropy(logits, labels, DOMAINS)
    expected = -logits.log_softmax(-1)
    torch.testing.assert_close(errors[0], expected[0, 0])
    torch.testing.assert_close(errors[1], (expected[2, 1] + expected[3, 2]) / 2)
    assert errors[2] == 0.0

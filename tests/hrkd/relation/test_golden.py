"""The released HRKD computation, pinned by numbers (tests/data/golden): ratios, loss and every gradient."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from hrkd.losses import LossTerms, attention_error, combine_terms, hidden_error, soft_cross_entropy
from hrkd.recipe import GraphConfig, GraphVariant, TermWeights
from hrkd.relation import build_graph, domain_prototypes

GOLDEN = Path(__file__).parents[2] / "data" / "golden"
DOMAINS, BATCH, TOKENS, WIDTH, STUDENT_LAYERS, TEACHER_LAYERS, CLASSES = 4, 3, 7, 16, 3, 6, 3
LEVELS = STUDENT_LAYERS + 1
CASES = ("full_length", "padded", "no_hierarchy")
TOLERANCE = {"rtol": 0.0, "atol": 1e-6}
KINDS = ("logits", "attention_scores", "hidden_states")


class Golden:
    """One golden case: its arrays, and the objective rebuilt on them from our parts."""

    def __init__(self, case: str) -> None:
        self.arrays = dict(np.load(GOLDEN / f"hrkd_{case}.npz"))
        self.with_hierarchy = case != "no_hierarchy"
        config = GraphConfig(variant=GraphVariant.REFERENCE, hierarchy=self.with_hierarchy)
        self.graph = build_graph(config, LEVELS, DOMAINS, WIDTH).double().eval()
        self.graph.load_state_dict(self.graph_state())
        self.graph.requires_grad_(requires_grad=True)
        self.student = [
            {kind: self.tensor(f"student.{domain}.{kind}").requires_grad_() for kind in KINDS}
            for domain in range(DOMAINS)
        ]

    def tensor(self, name: str) -> Tensor:
        return torch.tensor(self.arrays[name])

    def graph_state(self) -> dict[str, Tensor]:
        """Map the released parameters to ours: `a` stacks source over neighbour half; level 0 is unused."""
        state = {}
        if self.with_hierarchy:
            state["hierarchy.reference_weight"] = self.tensor("graph.w_attn_1")[1:]
            state["hierarchy.compare_weight"] = self.tensor("graph.w_attn_2")[1:]
        for level in range(LEVELS):
            layers = {
                "first": [f"graph.all_gnn.{level}.attentions.{head}" for head in range(8)],
                "second": [f"graph.all_gnn.{level}.out_att"],
            }
            for layer, names in layers.items():
                stacked = torch.stack([self.tensor(f"{name}.a") for name in names])
                half = stacked.shape[1] // 2
                prefix = f"attention.{level}.{layer}"
                state[f"{prefix}.weight"] = torch.stack([self.tensor(f"{name}.W") for name in names])
                state[f"{prefix}.source"], state[f"{prefix}.neighbour"] = stacked[:, :half], stacked[:, half:]
        return state

    def level(self, owner: str, kind: str, index: int) -> Tensor:
        """Stack one level of all domains to (K*B, ...); scores of masked keys count as 0 in the released code."""
        parts = (
            self.student[domain][kind][index] if owner == "student" else self.tensor(f"teacher.{domain}.{kind}")[index]
            for domain in range(DOMAINS)
        )
        stacked = torch.cat(list(parts))
        return stacked.where(stacked > -100, 0.0) if kind == "attention_scores" else stacked

    def run(self, *, with_graph: bool = True) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Return the released loss, the ratios, and the hierarchical ratios. The released code counts padding too."""
        every_token = torch.ones(DOMAINS * BATCH, TOKENS)
        states = [self.level("student", "hidden_states", level) for level in range(LEVELS)]
        step = TEACHER_LAYERS // STUDENT_LAYERS
        hidden = torch.stack(
            [
                hidden_error(state, self.level("teacher", "hidden_states", step * level), every_token, DOMAINS)
                for level, state in enumerate(states)
            ]
        )
        scores = [
            (self.level("student", "attention_scores", layer), self.level("teacher", "attention_scores", mapped))
            for layer, mapped in enumerate(range(step - 1, TEACHER_LAYERS, step))
        ]
        errors = [attention_error(student, teacher, every_token, DOMAINS) for student, teacher in scores]
        attention = torch.stack([torch.zeros_like(hidden[0]), *errors])
        logits = torch.cat([self.student[domain]["logits"] for domain in range(DOMAINS)])
        targets = torch.cat([self.tensor(f"teacher.{domain}.logits") for domain in range(DOMAINS)])
        prediction = soft_cross_entropy(logits, targets, DOMAINS) / CLASSES  # the released mean runs over classes too
        output = self.graph(domain_prototypes(states, every_token, DOMAINS))
        if not with_graph:  # released: neither kind of term is divided by K
            return hidden.sum() + attention.sum() + prediction.sum(), output.domain_ratios, ()
        terms = LossTerms(hidden, attention, prediction, label=torch.zeros_like(prediction))
        loss = combine_terms(terms, output.domain_ratios, TermWeights(1.0, 1.0, 1.0, 0.0))
        return loss, output.domain_ratios, output.hierarchical_ratios


@pytest.mark.parametrize("case", CASES)
def test_ratios_and_loss_agree_with_the_released_code(case: str) -> None:
    """A sign, an axis or a transposition wrong in the graph still gives ratios that sum to 1 and a plausible loss."""
    golden = Golden(case)
    loss, ratios, hierarchical = golden.run()
    torch.testing.assert_close(ratios, golden.tensor("domain_ratios"), **TOLERANCE)
    torch.testing.assert_close(loss, golden.tensor("loss_hrkd"), **TOLERANCE)
    torch.testing.assert_close(golden.run(with_graph=False)[0], golden.tensor("loss_without_graph"), **TOLERANCE)
    expected = [name for name in golden.arrays if name.startswith("hierarchical_ratios.")]
    assert len(hierarchical) == len(expected) == (0 if case == "no_hierarchy" else STUDENT_LAYERS)
    for level, weights in enumerate(hierarchical, start=1):
        torch.testing.assert_close(weights, golden.tensor(f"hierarchical_ratios.{level}"), **TOLERANCE)


@pytest.mark.parametrize("case", CASES)
def test_every_gradient_agrees_with_the_released_code(case: str) -> None:
    """A detached prototype or ratio leaves the loss right and the training wrong."""
    golden = Golden(case)
    golden.run()[0].backward()
    checked = 0
    for domain in range(DOMAINS):
        for kind in KINDS:
            expected = golden.tensor(f"grad.{domain}.{kind}")
            torch.testing.assert_close(golden.student[domain][kind].grad, expected, **TOLERANCE)
            checked += int(expected.abs().max() > 0)
    assert checked == DOMAINS * len(KINDS)


@pytest.mark.parametrize("case", CASES)
def test_graph_gradients_agree_with_the_released_code(case: str) -> None:
    """Training the graph later rests on these gradients; nothing else would notice if one were wrong."""
    golden = Golden(case)
    golden.run()[0].backward()
    golden.arrays = {
        name.replace("graph_grad.", "graph."): value
        for name, value in golden.arrays.items()
        if name.startswith("graph_grad.")
    }
    expected = golden.graph_state()
    assert any(gradient.abs().max() > 0 for gradient in expected.values())
    for name, parameter in golden.graph.named_parameters():
        actual = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(actual, expected[name], **TOLERANCE, msg=lambda text, name=name: f"{name}: {text}")

"""The pieces from which several processes become one: sums, shares, noise, and what a launcher says."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hrkd import distributed
from hrkd.data.collate import Batch
from hrkd.distributed import (
    average_gradients,
    barrier,
    check_equal,
    from_main,
    gather,
    largest_over_ranks,
    local_main_first,
    rank,
    sum_over_ranks,
    world_size,
)
from hrkd.errors import DistributedError
from hrkd.losses import LossTerms, combine_terms, hidden_error
from hrkd.recipe import AttentionTerm, GraphConfig, GraphVariant, TermWeights
from hrkd.relation import build_graph, domain_prototypes
from hrkd.training.shares import Comparison, common_noise, own_rows, whole_comparison
from hrkd.training.state import check_same_parameters
from several_processes import results_of, run_in_processes

DOMAINS, LEVELS, ROWS, TOKENS, WIDTH = 3, 2, 12, 5, 8
WEIGHTS = TermWeights(hidden=1.0, attention=0.0, prediction=0.0, label=0.0)


def test_one_process_is_untouched() -> None:
    """Without a launcher every result must be the same object, not the same number but for rounding."""
    tensor, parameter = torch.ones(2), nn.Parameter(torch.ones(2))
    parameter.grad = torch.ones(2)
    gradient = parameter.grad
    average_gradients([parameter])
    assert parameter.grad is gradient
    assert sum_over_ranks(tensor) is tensor
    assert from_main(tensor) is tensor
    assert gather(tensor)[0] is tensor
    indices = np.arange(6)
    assert own_rows(indices, 3) is indices
    state = torch.get_rng_state()
    with common_noise(torch.device("cpu")):
        barrier()
    assert torch.equal(torch.get_rng_state(), state)
    assert (rank(), world_size(), largest_over_ranks(7)) == (0, 1, 7)


def _collectives() -> dict[str, Any]:
    own = rank()
    torch.manual_seed(own)
    shared = nn.Parameter(torch.tensor([2.0]))
    total = sum_over_ranks(shared * (own + 1))  # 2 + 4 + 6
    total.square().sum().backward()
    alone = nn.Parameter(torch.zeros(3))  # without a gradient
    average_gradients([shared, alone])
    shares = own_rows(np.arange(DOMAINS * 7), DOMAINS)
    with common_noise(torch.device("cpu")):
        common = torch.rand(1).item()
    return {
        "total": total.item(),
        "gradient": shared.grad.item() if shared.grad is not None else None,
        "alone": alone.grad,
        "largest": largest_over_ranks(own * 15),
        "main": from_main(torch.tensor([own + 5])).item(),
        "gathered": [tensor.item() for tensor in gather(torch.tensor([own]))],
        "shares": shares.tolist(),
        "common": common,
        "noise": torch.rand(1).item(),
    }


def test_three_processes_sum_average_and_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """A factor of the number of processes in a gradient is a learning rate that nobody set."""
    monkeypatch.setattr(distributed, "BUCKET_VALUES", 1)
    found = results_of(_collectives, number=3)
    for one in found:
        assert one["total"] == 12.0
        assert one["gradient"] == 2 * 12 * 6  # d (6 w)^2 / dw at w = 2
        assert one["alone"] is None
        assert one["largest"] == 30
        assert one["main"] == 5
        assert one["gathered"] == [0, 1, 2]
        assert one["common"] == found[0]["common"]
    assert len({one["noise"] for one in found}) == len(found)
    assert sorted(row for one in found for row in one["shares"]) == list(range(DOMAINS * 7))
    for one in found:
        assert len({sum(row // 7 == domain for row in one["shares"]) for domain in range(DOMAINS)}) == 1


def test_more_processes_than_texts_are_refused() -> None:
    """A process without texts has no means; NaN would be blamed on the learning rate."""
    outcomes = run_in_processes(lambda: own_rows(np.arange(DOMAINS), DOMAINS))
    assert [error for error, _ in outcomes] == ["DistributedError", "DistributedError"]


def test_other_values_and_drifted_parameters_are_found_by_all() -> None:
    """Models that drift apart train on, each for itself, with gradients of the others."""

    def values() -> None:
        check_equal("same", "inputs", hint="")
        check_equal(f"value {rank()}", "inputs", hint="")

    def parameters() -> None:
        module = nn.Linear(2, 2)
        nn.init.zeros_(module.weight)
        nn.init.zeros_(module.bias)
        check_same_parameters(module)
        with torch.no_grad():
            module.bias[1] += rank() * 1e-7
        check_same_parameters(module)

    for work, what in ((values, "inputs"), (parameters, "parameters")):
        for error, text in run_in_processes(work):
            assert error == "DistributedError"
            assert f"process 1 has other {what} than process 0" in text


def test_the_first_process_of_a_machine_goes_first(tmp_path: Path) -> None:
    """Two processes that fetch one file into one place at once leave a mixture."""
    file = tmp_path / "fetched"

    def work() -> bool:
        with local_main_first():
            if rank() == 0:
                time.sleep(0.3)
                file.touch()
            return file.exists()

    assert results_of(work) == [True, True]


class Toy:
    """Random states of three domains that lie far apart, and a released graph with weights that tell them apart."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(3)
        offsets = 4.0 * torch.randn(DOMAINS, WIDTH, dtype=torch.float64, generator=generator)
        domains = torch.arange(ROWS) * DOMAINS // ROWS
        shape = (LEVELS, ROWS, TOKENS, WIDTH)
        self.states = torch.randn(shape, dtype=torch.float64, generator=generator) + offsets[domains][:, None]
        self.wanted = torch.randn(shape, dtype=torch.float64, generator=generator)
        self.lengths = torch.randint(1, TOKENS + 1, (ROWS,), generator=generator)
        self.start = torch.randn(WIDTH, WIDTH, dtype=torch.float64, generator=generator) / WIDTH**0.5
        torch.manual_seed(0)
        config = GraphConfig(variant=GraphVariant.REFERENCE)
        self.graph = build_graph(config, LEVELS, DOMAINS, WIDTH).double().eval()
        with torch.no_grad():  # as drawn, one neighbour wins for all domains, and ratios are uniform to the last bit
            for attention in self.graph.attention:
                attention.first.neighbour.mul_(0.1)
                attention.second.neighbour.mul_(0.1)

    def gradient(self, *, through_ratios: bool = True) -> tuple[Tensor, Tensor]:
        """Return the gradient of the loss for one matrix that all states go through, and the ratios."""
        rows = torch.from_numpy(own_rows(np.arange(ROWS), DOMAINS))
        weight = nn.Parameter(self.start.clone())
        mask = (torch.arange(TOKENS) < self.lengths[rows].unsqueeze(1)).long()
        nothing = torch.zeros(len(rows), dtype=torch.long)
        batch = Batch(nothing, mask, nothing, nothing, nothing)
        states = [state @ weight for state in self.states[:, rows]]
        errors = [hidden_error(*pair, mask, DOMAINS) for pair in zip(states, self.wanted[:, rows], strict=True)]
        zero = torch.zeros(LEVELS, DOMAINS, dtype=torch.float64)
        terms = LossTerms(torch.stack(errors), zero, zero[0], zero[0])
        own = Comparison(terms, domain_prototypes(states, mask, DOMAINS))
        whole = whole_comparison(own, batch, DOMAINS, AttentionTerm.SCORES, None)
        assert whole.prototypes is not None
        ratios = self.graph(whole.prototypes).domain_ratios
        combine_terms(whole.terms, ratios if through_ratios else ratios.detach(), WEIGHTS).backward()
        average_gradients([weight])
        assert weight.grad is not None
        return weight.grad, ratios.detach()


def test_gradients_flow_through_the_prototypes_of_all_processes() -> None:
    """The released ratios carry gradients to the student; those of a process's own prototypes are others."""
    toy = Toy()
    expected, ratios = toy.gradient()
    assert (ratios - 1 / DOMAINS).abs().max() > 0.01, "uniform ratios would show nothing"
    assert (expected - toy.gradient(through_ratios=False)[0]).abs().max() > 1e-3, "no gradient flows through the ratios"
    for gradient, seen in results_of(lambda: tuple(tensor.tolist() for tensor in toy.gradient())):
        torch.testing.assert_close(torch.tensor(gradient, dtype=torch.float64), expected, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(torch.tensor(seen, dtype=torch.float64), ratios, rtol=1e-9, atol=1e-9)


ADDRESS = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"RANK": "0", "WORLD_SIZE": "two", **ADDRESS}, "must be numbers"),
        ({"RANK": "2", "WORLD_SIZE": "2", **ADDRESS}, "RANK is 2, WORLD_SIZE 2"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "MASTER_ADDR and MASTER_PORT not"),
    ],
)
def test_a_launcher_that_contradicts_itself_is_refused(
    variables: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that cannot find the others must not wait for them for minutes, nor train alone."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DistributedError, match=message), distributed.distributed():
        pytest.fail("joined")


def test_a_single_process_of_a_launcher_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training jobs on clusters set the variables for single processes too, sometimes without an address."""
    monkeypatch.setattr(os, "environ", {**os.environ, "RANK": "0", "WORLD_SIZE": "1"})
    with distributed.distributed():
        assert world_size() == 1


@pytest.mark.parametrize(("local_rank", "gpus", "expected"), [(0, 1, 0), (3, 1, 0), (3, 4, 3)])
def test_each_process_takes_its_own_gpu(local_rank: int, gpus: int, expected: int) -> None:
    """Two processes on one GPU are half as fast each, or end in a message about duplicates."""
    assert distributed._own_gpu(local_rank, gpus) == expected


def test_more_processes_than_gpus_are_refused() -> None:
    """CUDA's own message names an invalid ordinal and nothing that the user gave."""
    with pytest.raises(DistributedError, match="there are 2"):
        distributed._own_gpu(2, 2)

"""Two processes with batches of b texts are one process with 2b: parameters after several steps are the same.

Everything runs in float64, where rounding is far below what a wrong mean changes, and AdamW, which divides by the size
of a gradient, cannot blow it up.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hrkd.data.batches import DomainBatches
from hrkd.data.collate import TokenizedExamples
from hrkd.data.dataset import NO_LABEL, Examples
from hrkd.device import Device
from hrkd.distributed import average_gradients, rank
from hrkd.metrics import DomainScores
from hrkd.models import ClassifierConfig, MultiDomainClassifier
from hrkd.models.encoder import load_encoder
from hrkd.models.student import build_student
from hrkd.recipe import GraphVariant, MethodConfig, StudentConfig, TrainingConfig
from hrkd.relation.graph_attention import GraphAttention
from hrkd.training.gradients import leave_gradients, with_fewer_at_once
from hrkd.training.loop import run_training
from hrkd.training.objective import DistillationObjective
from hrkd.training.observer import Observer
from hrkd.training.optimization import OuterSchedule
from hrkd.training.shared_teacher import place_teacher
from hrkd.training.shares import own_rows
from hrkd.training.stage_plan import Stage
from hrkd.training.step import Objective, StepResult
from hrkd.training.teacher import TeacherObjective
from hrkd.training.teacher_outputs import LiveTeacher
from several_processes import results_of

CONFIG = ClassifierConfig(("books", "films", "phones"), ("neg", "pos"), 24, separator_id=3)
CPU = Device(torch.device("cpu"), torch.float32)
PER_DOMAIN, BATCH, STEPS = 40, 2, 4
LARGEST_DIFFERENCE = 1e-9
"""The issue asks for 1e-5; found are 1e-12, and a graph that hardly depends on its prototypes needs a sharp eye."""

METHODS: dict[str, dict[str, Any]] = {
    "the default objective": {},
    "released": {"preset": "released"},
    "scores, uniform": {"graph": {"variant": "uniform"}, "attention_weight": 1.0, "attention": "scores"},
    "scores, reference": {"graph": {"variant": "reference"}, "attention_weight": 1.0, "attention": "scores"},
    "relations, meta": {
        "graph": {"variant": "meta", "update_every": 1},
        "attention_weight": 1.0,
        "attention": "relations",
    },
    "meta, worst domain": {"graph": {"variant": "meta", "update_every": 2, "outer": "worst"}, "label_weight": 0.5},
    "labels alone": {"preset": "fine_tune"},
}


def make_examples(unlabelled: bool) -> TokenizedExamples:
    """Texts of very different lengths; a third of them without a label where that is asked for."""
    generator = np.random.default_rng(0)
    size = PER_DOMAIN * len(CONFIG.domain_names)
    lengths = generator.integers(3, 21, size)
    labels = generator.integers(0, 2, size)
    return TokenizedExamples(
        flat_ids=generator.integers(5, 40, lengths.sum()).astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        labels=np.where(unlabelled & (generator.random(size) < 1 / 3), NO_LABEL, labels),
        domains=np.repeat(np.arange(len(CONFIG.domain_names)), PER_DOMAIN),
        pad_id=0,
    )


def make_batches(examples: TokenizedExamples, batch_size: int, seed: int) -> DomainBatches:
    texts = Examples(("",) * len(examples), None, examples.labels, examples.domains)
    return DomainBatches(texts, examples.lengths, batch_size, len(CONFIG.domain_names), seed)


def without_dropout(module: nn.Module) -> nn.Module:
    """Switch off dropout in models and in the released graph."""
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        if isinstance(part, GraphAttention):
            part.dropout = 0.0
        if hasattr(part, "dropout_prob"):  # of the fused attention
            part.dropout_prob = 0.0
    return module


def make_distillation(
    encoder: Path, method: Mapping[str, Any], *, weighted: bool, shared: bool = False
) -> DistillationObjective:
    torch.manual_seed(0)
    teacher = MultiDomainClassifier(load_encoder(str(encoder)), CONFIG).double()
    student = build_student(teacher, StudentConfig(layers=2, dropout=0.0)).double()
    objective = DistillationObjective(teacher, student, MethodConfig.model_validate(method))
    without_dropout(objective.trainable.double())
    place_teacher(teacher, CPU.device, shared=shared)
    weights = torch.rand(PER_DOMAIN * 3, dtype=torch.float64) + 0.1 if weighted else None
    objective.listen(LiveTeacher(teacher, objective.wanted) if objective.wanted else None, weights)
    return objective


def train(
    objective: Objective, examples: TokenizedExamples, batch_size: int, folder: Path, micro_batches: int = 1
) -> dict[str, Tensor]:
    """Run a few steps and return all parameters as they are after the last one."""
    scores = itertools.count(1)
    config = TrainingConfig(
        epochs=STEPS * BATCH * 2 / PER_DOMAIN,
        learning_rate=1e-2,
        batch_size=batch_size,
        micro_batches=micro_batches,
        evaluations_per_epoch=0.1,
    )
    stage = Stage(
        name="student",
        input_hash="test",
        state_folder=folder,
        domain_names=CONFIG.domain_names,
        examples=examples,
        batches=make_batches(examples, batch_size, 5),
        validate=lambda: DomainScores({"all": float(next(scores))}),
        config=config,
        device=CPU,
        outer=outer_schedule(objective, examples, batch_size),
    )
    progress = run_training(objective, stage, Observer(), resume=False)
    assert progress.step == STEPS
    return {name: value.detach().clone() for name, value in objective.trainable.state_dict().items()}


def outer_schedule(objective: Objective, examples: TokenizedExamples, batch_size: int) -> OuterSchedule | None:
    if not isinstance(objective, DistillationObjective) or objective.config.graph.variant is not GraphVariant.META:
        return None
    if objective.imitation is None:
        return None
    graph = objective.config.graph
    parameters = tuple(objective.graph.parameters())
    batches = make_batches(examples, batch_size, 6)
    return OuterSchedule(parameters, graph.learning_rate, graph.update_every, batches, objective.outer)


def assert_same(build: Callable[[], Objective], examples: TokenizedExamples, folder: Path) -> None:
    """Compare two processes with one of the double batch, and make sure that there was something to compare."""
    before = {name: value.clone() for name, value in build().trainable.state_dict().items()}
    expected = train(build(), examples, 2 * BATCH, folder / "one")
    first, second = results_of(lambda: to_bytes(train(build(), examples, BATCH, folder / "two")))
    assert first == second
    moved = [name for name, value in expected.items() if not torch.equal(value, before[name])]
    assert len(moved) > 10
    assert_near(from_bytes(first), expected)


def assert_near(actual: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert actual.keys() == expected.keys()
    apart = {name: float((actual[name] - value).abs().max()) for name, value in expected.items()}
    assert max(apart.values()) < LARGEST_DIFFERENCE, apart


def to_bytes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[bytes, tuple[int, ...]]]:
    return {name: (tensor.double().numpy().tobytes(), tuple(tensor.shape)) for name, tensor in tensors.items()}


def from_bytes(values: Mapping[str, tuple[bytes, tuple[int, ...]]]) -> dict[str, Tensor]:
    return {
        name: torch.from_numpy(np.frombuffer(content).copy()).reshape(shape)
        for name, (content, shape) in values.items()
    }


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_are_one_with_the_double_batch(name: str, tiny_encoder: Path, tmp_path: Path) -> None:
    """Ratios of each process's own prototypes, or means of means, train another student; every curve looks fine."""
    build = partial(make_distillation, tiny_encoder, METHODS[name], weighted=False)
    assert_same(build, make_examples(unlabelled=False), tmp_path)


@pytest.mark.parametrize("name", METHODS)
def test_a_batch_in_parts_is_the_batch(name: str, tiny_encoder: Path, tmp_path: Path) -> None:
    """Saving memory must not change the method: ratios of each part's own prototypes, or a term that counts N times."""
    build = partial(make_distillation, tiny_encoder, METHODS[name] | {"label_weight": 0.5}, weighted=True)
    examples = make_examples(unlabelled=True)
    expected = train(build(), examples, 2 * BATCH, tmp_path / "one")
    assert_near(train(build(), examples, 2 * BATCH, tmp_path / "parts", micro_batches=3), expected)


def test_two_processes_with_batches_in_parts(tiny_encoder: Path, tmp_path: Path) -> None:
    """Parts and processes divide and multiply the same gradient; doing it twice would go unnoticed in each alone."""
    build = partial(make_distillation, tiny_encoder, METHODS["scores, reference"], weighted=False)
    examples = make_examples(unlabelled=False)
    expected = train(build(), examples, 2 * BATCH, tmp_path / "one")
    first, second = results_of(lambda: to_bytes(train(build(), examples, BATCH, tmp_path / "two", micro_batches=2)))
    assert first == second
    assert_near(from_bytes(first), expected)


@pytest.mark.parametrize(("name", "parts"), [("released", 1), ("relations, meta", 2)])
def test_processes_that_share_a_teacher_train_the_same_student(
    name: str, parts: int, tiny_encoder: Path, tmp_path: Path
) -> None:
    """A layer that is put together from other parts, or too late, gives finite answers and another student."""

    def both() -> list[dict[str, tuple[bytes, tuple[int, ...]]]]:
        found = []
        for shared in (False, True):
            objective = make_distillation(tiny_encoder, METHODS[name], weighted=True, shared=shared)
            examples = make_examples(unlabelled=True)
            found.append(to_bytes(train(objective, examples, BATCH, tmp_path / str(shared), micro_batches=parts)))
        return found

    for whole, shared in results_of(both):
        assert shared == whole


@pytest.mark.parametrize(("texts", "parts", "expected_parts"), [(4, 2, 1), (8, 3, 2)])
def test_processes_with_unequal_shares_divide_them_alike(
    texts: int, parts: int, expected_parts: int, tiny_encoder: Path
) -> None:
    """Three processes share four texts as 2, 1, 1: each dividing its own as far as it goes, they never meet again."""
    examples = make_examples(unlabelled=False)
    batches = make_batches(examples, texts, 5)

    def gradients(number: int) -> tuple[int, dict[str, tuple[bytes, tuple[int, ...]]]]:
        objective = make_distillation(tiny_encoder, METHODS["scores, reference"], weighted=False)
        batch = examples.batch(own_rows(batches.indices(0), batches.num_domains))

        def work(parts: int) -> StepResult:
            return leave_gradients(objective, batch, 0.0, CPU, batches.num_domains, parts, lambda _: None)

        _, used = with_fewer_at_once(work, batch, batches.num_domains, number, CPU, objective.trainable, print)
        average_gradients(objective.trainable.parameters())
        named = objective.trainable.named_parameters()
        return used, to_bytes({name: value.grad for name, value in named if value.grad is not None})

    _, expected = gradients(1)
    assert len(expected) > 10
    for used, found in results_of(lambda: gradients(parts), number=3):
        assert used == expected_parts
        assert_near(from_bytes(found), from_bytes(expected))


def test_unequal_labels_and_weights_count_once(tiny_encoder: Path, tmp_path: Path) -> None:
    """A process with one labelled text would weigh it like the other's four, and heavy texts like light ones."""
    method = METHODS["relations, meta"] | {"label_weight": 1.0}
    build = partial(make_distillation, tiny_encoder, method, weighted=True)
    assert_same(build, make_examples(unlabelled=True), tmp_path)


def test_dropout_in_the_graph_gives_all_processes_one_set_of_ratios(tiny_encoder: Path) -> None:
    """The released graph has dropout; each process would weigh the domains of one batch in its own way."""
    objective = make_distillation(tiny_encoder, METHODS["scores, reference"], weighted=False)
    for part in objective.graph.modules():
        if isinstance(part, GraphAttention):
            part.dropout = 0.5
    examples = make_examples(unlabelled=False)
    batches = make_batches(examples, 2 * BATCH, 5)

    def ratios() -> list[list[float]]:
        torch.manual_seed(rank())
        objective.trainable.train()
        result = objective(examples.batch(own_rows(batches.indices(0), batches.num_domains)), 0.0)
        assert result.domain_ratios is not None
        found: list[list[float]] = result.domain_ratios.tolist()
        return found

    first, second = results_of(ratios)
    assert np.ptp(first) > 1e-3, "uniform ratios would show nothing"
    assert first == second


def test_a_teacher_is_trained_by_two_processes_as_by_one(tiny_encoder: Path, tmp_path: Path) -> None:
    """A sum over domains that every process averages for itself is right only by luck."""

    def build() -> TeacherObjective:
        torch.manual_seed(0)
        model = MultiDomainClassifier(load_encoder(str(tiny_encoder)), CONFIG).double()
        without_dropout(model)
        return TeacherObjective(model)

    assert_same(build, make_examples(unlabelled=False), tmp_path)

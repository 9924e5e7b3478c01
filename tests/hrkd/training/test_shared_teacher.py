"""Several processes hold one teacher together: nothing changes but the memory, and nobody waits for ever."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from hrkd.artifact import STAGE_RECORD, hash_files
from hrkd.bundle import EVAL
from hrkd.data.load import load_dataset
from hrkd.device import Device
from hrkd.distributed import rank
from hrkd.errors import RecipeError
from hrkd.evaluation import predict_logits
from hrkd.models import (
    MultiDomainClassifier,
    PerDomainClassifier,
    Teacher,
    load_teacher,
    load_tokenizer,
    save_classifier,
)
from hrkd.models.encoder import build_encoder
from hrkd.recipe import Recipe
from hrkd.run_folder import TEACHER_OUTPUTS, RunFolder
from hrkd.training import Observer, distill, train_teacher
from hrkd.training.dry_run import dry_run_student
from hrkd.training.prepare import prepare_data
from hrkd.training.scoring import shared_logits
from hrkd.training.shared_teacher import place_teacher
from hrkd.training.teacher_outputs import LiveTeacher, Wanted
from several_processes import results_of, run_in_processes
from tiny_families import CONFIG, families

CPU = Device(torch.device("cpu"), torch.float32)
LARGEST: dict[str, Any] = {
    "student": {"dropout": 0.1, "general": {"epochs": 0.2, "batch_size": 8}},
    "method": {
        "graph": {"variant": "meta", "update_every": 2},
        "example_weights": "meta_kd",
        "attention_weight": 1.0,
        "attention": "relations",
    },
}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory, make_recipe: Callable[..., Recipe]) -> Path:
    """A barely trained teacher."""
    recipe = make_recipe(teacher={"training": {"epochs": 0.2, "precision": "fp32"}})
    run = RunFolder.create(tmp_path_factory.mktemp("teacher"), recipe)
    train_teacher(recipe, run)
    return run.teacher


def without_scores(teacher: Path, folder: Path) -> Path:
    """Copy a teacher without its answers to the test texts, so that a distillation has to ask for them."""
    shutil.copytree(teacher, folder, ignore=shutil.ignore_patterns(EVAL, STAGE_RECORD))
    return folder


def own_bytes(model: nn.Module) -> int:
    """Return the size of what this process holds of a model."""
    return sum(getattr(tensor, "to_local", tensor.detach)().nbytes for tensor in model.parameters())


@torch.no_grad()
def answers(model: MultiDomainClassifier, texts: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    """Return logits, hidden states and records in float32, then in bfloat16, which the first DeBERTa cannot."""
    found = []
    for dtype in (torch.float32, torch.bfloat16)[: 1 + (model.encoder_config.model_type != "deberta")]:
        with Device(CPU.device, dtype).autocast():
            output = model(*texts, hidden_states=True, attention_layers=(2, 4))
        records = [part for record in output.attention for part in record]
        found += [output.logits, *output.hidden_states, *records]
    return found


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # DeBERTa's own code
def test_every_family_answers_with_half_of_it_in_each_process() -> None:
    """A teacher that nobody cut works as well, until it does not fit; a bias read too late is another layer's."""

    def work() -> dict[str, float]:
        halves = {}
        for name, family in families().items():
            torch.manual_seed(0)
            model = MultiDomainClassifier(build_encoder(family.config), CONFIG).eval()
            mask = (torch.arange(12) < torch.tensor([[12], [5], [9]])).long()
            texts = (torch.randint(5, 60, (3, 12)), mask, torch.arange(3))
            size, noise = own_bytes(model), torch.get_rng_state()
            whole = answers(model, texts)
            place_teacher(model, CPU.device, shared=True)
            shared = answers(model, texts)
            assert torch.equal(torch.get_rng_state(), noise)
            assert len(shared) in (1 + 5 + 2 * 3, 2 * (1 + 5 + 2 * 3))
            assert all(map(torch.equal, shared, whole)), name
            halves[name] = own_bytes(model) / size
        return halves

    for found in results_of(work):
        assert len(found) == len(families())
        assert all(0.4 < half < 0.6 for half in found.values()), found


@pytest.mark.parametrize("cached", [False, True])
def test_a_student_of_a_shared_teacher_is_the_same_bit_for_bit(
    cached: bool, make_recipe: Callable[..., Recipe], teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sharing is for memory alone; a process that runs the teacher once more or less than the others waits for ever."""
    held: list[int] = []
    make = LiveTeacher.__init__

    def weighed(live: LiveTeacher, model: Teacher, wanted: Wanted) -> None:
        held.append(own_bytes(model))
        make(live, model, wanted)

    monkeypatch.setattr(LiveTeacher, "__init__", weighed)
    sections = {name: dict(keys) for name, keys in LARGEST.items()}
    places = {shared: without_scores(teacher, tmp_path / f"{shared}" / "teacher") for shared in (False, True)}

    def both() -> tuple[list[dict[str, str]], list[int]]:
        files = []
        for shared, folder in places.items():
            training = {"epochs": 0.5, "cache_teacher": cached, "shard_teacher": shared, "micro_batches": 1 + cached}
            recipe, run = make_recipe(**sections, training=training), RunFolder(folder.parent)
            record = distill(recipe, run, teacher=folder)
            files.append({"inputs": record.input_hash, **record.files})
        return files, held

    for files, sizes in results_of(both):
        assert files[0] == files[1]
        whole, parts = sizes[:2], sizes[2:]  # of the task-agnostic stage, of the distillation
        assert all(0.4 * all_of_it < part < 0.6 * all_of_it for all_of_it, part in zip(whole, parts, strict=True))
    caches = [hash_files(folder.parent / TEACHER_OUTPUTS) for folder in places.values()]
    assert caches[0] == caches[1]
    assert bool(caches[0]) == cached


def test_processes_without_a_batch_of_their_own_run_one_for_the_others(
    make_recipe: Callable[..., Recipe], teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three batches are two for one process and one for the other, who would not help with the last."""
    data = prepare_data(load_dataset(make_recipe().data), load_tokenizer(teacher), 24)
    size = len(data.test)
    expected = predict_logits(load_teacher(teacher), data.test, CPU)

    def work() -> list[NDArray[np.float32]]:
        model = load_teacher(teacher)
        place_teacher(model, CPU.device, shared=True)
        answers = []
        for batches in (3, 1):
            monkeypatch.setattr("hrkd.training.scoring.EVALUATION_BATCH", -(-size // batches))
            answers.append(shared_logits(model, data.test, CPU))
        return answers

    for answers in results_of(work):
        for answer in answers:
            np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=1e-6)


def test_a_process_that_fails_ends_those_that_share_the_teacher_with_it(teacher: Path) -> None:
    """The messages of a shared teacher are torch's own; their errors look like a bug in it."""

    def work() -> None:
        model = load_teacher(teacher)
        place_teacher(model, CPU.device, shared=True)
        if rank() == 1:
            raise ZeroDivisionError("planted")
        model(torch.ones(2, 5, dtype=torch.long), torch.ones(2, 5, dtype=torch.long), torch.zeros(2, dtype=torch.long))

    (other, text), (failed, _) = run_in_processes(work)
    assert (other, failed) == ("DistributedError", "ZeroDivisionError")
    assert "process 0 of 2 lost the others" in text


def test_a_dry_run_shares_too(make_recipe: Callable[..., Recipe], teacher: Path, tmp_path: Path) -> None:
    """What a dry run finds too large would fit, or the other way round."""
    recipe = make_recipe(**{"method": LARGEST["method"]}, training={"epochs": 0.5, "shard_teacher": True})
    run = RunFolder(tmp_path)
    estimates = results_of(lambda: [one.steps for one in dry_run_student(recipe, run, Observer(), teacher=teacher)])
    assert estimates[0] == estimates[1]
    assert len(estimates[0]) == 1


def test_one_process_holds_all_of_it(teacher: Path) -> None:
    """The recipe of a cluster has to run on a single GPU that is large enough."""
    model = load_teacher(teacher)
    kind, size = type(model), own_bytes(model)
    place_teacher(model, CPU.device, shared=True)
    assert (type(model), own_bytes(model)) == (kind, size)


def test_what_cannot_be_shared_is_refused_before_work(
    make_recipe: Callable[..., Recipe], teacher: Path, tmp_path: Path
) -> None:
    """Members of a teacher per domain run where their texts are: processes with other texts would wait for ever."""
    sharing = make_recipe(training={"shard_teacher": True})
    members: list[Teacher] = [load_teacher(teacher) for _ in range(3)]
    save_classifier(PerDomainClassifier(members), load_tokenizer(teacher), tmp_path / "members")  # type: ignore[arg-type]
    for refusing in (
        lambda: distill(sharing, RunFolder(tmp_path / "run"), teacher=tmp_path / "members"),
        lambda: dry_run_student(sharing, RunFolder(tmp_path / "run"), Observer(), teacher=tmp_path / "members"),
        lambda: make_recipe(teacher={"base": None, "adopt": {"books": "x"}}, training={"shard_teacher": True}),
        lambda: make_recipe(
            teacher={"base": None, "adopt": "x"}, student={"general": {}}, training={"shard_teacher": True}
        ),
    ):
        with pytest.raises(RecipeError, match="shard_teacher"):
            refusing()

"""A tiny plan, and made-up runs for the tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from hrkd.artifact import hash_of
from hrkd.metrics import accuracy
from paper.bits import pack
from paper.documents import (
    DATASET,
    Cost,
    DatasetFacts,
    Machine,
    Result,
    Scores,
    result_path,
    write_document,
)

DOMAINS = ("books", "films")
PER_DOMAIN = 120
METHODS = ("first", "second", "uniform")


@pytest.fixture
def plan_file(tmp_path: Path, tiny_encoder: Path, tiny_data: Path) -> Path:
    """A plan of two methods x two seeds on the tiny texts, at all and at half of them."""
    training = {"epochs": 1.0, "learning_rate": 3e-3, "batch_size": 8, "precision": "fp32"}
    recipe = {
        "name": "tiny",
        "data": {"source": "files", "path": str(tiny_data), "max_length": 24},
        "teacher": {"base": str(tiny_encoder), "training": training},
        "student": {"layers": 2},
        "training": training,
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    plan = {
        "fraction_key": "data.train_fraction",
        "seed_keys": ["seed", "data.sample_seed"],
        "datasets": {"tiny": {"recipe": str(tmp_path / "tiny.yaml"), "what": "tiny texts"}},
        "methods": {
            "uniform": {"what": "no graph", "overrides": {"method.graph.variant": "uniform"}},
            "logits": {"what": "logits only", "overrides": {"method.hidden_weight": 0.0}},
        },
        "grid": [{"dataset": "tiny", "fraction": 100, "seeds": [0, 1], "methods": "all"}],
        "baselines": ["uniform"],
        "summary": {"baselines": ["uniform"], "methods": ["uniform", "logits"]},
    }
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(plan, sort_keys=False), encoding="utf-8")
    return path


@pytest.fixture
def made_up(tmp_path: Path) -> Callable[..., Path]:
    """Return a builder of results of the methods first, second and uniform; ``seeds`` is the number by method."""

    def build(folder: str = "results", leaks: int = 5, **seeds: int) -> Path:
        results = tmp_path / folder
        domains = np.repeat(np.arange(len(DOMAINS)), PER_DOMAIN)
        leaking = np.arange(len(domains)) < leaks
        facts = DatasetFacts(
            dataset="tiny",
            fingerprint="f" * 64,
            test_fingerprint="t" * 64,
            labels=("neg", "pos"),
            sizes={"train": dict.fromkeys(DOMAINS, 400), "test": dict.fromkeys(DOMAINS, PER_DOMAIN)},
            test_size=len(domains),
            test_domains={name: pack(domains == index) for index, name in enumerate(DOMAINS)},
            leaking=pack(leaking),
        )
        write_document(results / "tiny" / DATASET, facts)
        generator = np.random.default_rng(0)
        for number, method in enumerate(("teacher", *METHODS)):
            for seed in range(seeds.get(method, 2)):
                right = generator.random(len(domains)) < 0.9 - 0.1 * number
                result = make_result(method, seed, right, domains)
                write_document(result_path(results, Path("tiny") / "100", method, seed), result)
        return results

    return build


def make_result(method: str, seed: int, right: np.ndarray, domains: np.ndarray, **changes: Any) -> Result:
    """Return the document of a made-up run."""
    scores = accuracy(right, np.ones_like(right), domains, DOMAINS).domains
    recipe = {"seed": seed, "data": {"sample_seed": seed, "source": "files"}, "training": {"epochs": 1.0}}
    values = {
        "dataset": "tiny",
        "fraction": 100.0,
        "method": method,
        "seed": seed,
        "overrides": {},
        "recipe": recipe,
        "recipe_hash": hash_of(recipe),
        "data_fingerprint": "d" * 64,
        "test_fingerprint": "t" * 64,
        "teacher_hash": f"{seed}" * 64,
        "scores": Scores(best_step=3, validation=scores, test=scores, correct=pack(right)),
        "cost": Cost(wall_seconds=60.0, total_steps=10, examples_per_second=50.0, resumed=False),
        "machine": Machine(device="CPU, float32", cpu="Some CPU", threads=1, versions={"torch": "2.0"}),
        "commit": "c" * 40,
        "dirty": False,
    }
    return Result(**{**values, **changes})

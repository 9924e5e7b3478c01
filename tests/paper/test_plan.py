"""The committed plan fits the recipes, and only what is asked for is made."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from hrkd.errors import RecipeError
from paper.plan import PLAN, TEACHER, Wanted, job, jobs, read_plan, whole_recipe


def test_every_planned_run_has_a_valid_recipe() -> None:
    """A misspelt key would be found after hours, when its turn comes."""
    plan = read_plan()
    planned = list(jobs(plan, Wanted()))
    assert len(planned) > 100
    assert {one.method for one in planned} == set(plan.methods)
    assert len({(one.cell, one.method, one.seed) for one in planned}) == len(planned)
    for one in planned:
        assert one.recipe.seed == one.recipe.data.sample_seed == one.seed
        assert one.recipe.data.train_fraction == one.fraction / 100


def test_methods_differ_from_each_other() -> None:
    """Two rows with the same recipe would be one method under two names."""
    plan = read_plan()
    block = plan.grid[0]
    recipes = {name: job(plan, block, name, 0).recipe.model_dump_json() for name in plan.methods_of(block)}
    assert len(set(recipes.values())) == len(plan.methods)


def test_methods_of_a_seed_share_data_teacher_and_steps() -> None:
    """A baseline with fewer steps, or with another teacher, would lose for that."""
    plan = read_plan()
    for block in plan.grid:
        teacher = job(plan, block, TEACHER, 3).recipe
        for method in plan.methods_of(block):
            recipe = job(plan, block, method, 3).recipe
            assert (recipe.data, recipe.teacher, recipe.training) == (teacher.data, teacher.teacher, teacher.training)


def test_an_exploration_takes_the_first_seeds_and_a_replication_more() -> None:
    """A row that was never meant to have five seeds would be marked unfinished for ever, or cost days."""
    plan = read_plan()
    block = plan.grid[0]
    made: dict[str, list[int]] = {}
    for one in jobs(plan, Wanted(datasets=(block.dataset,), fractions=(block.fraction,))):
        made.setdefault(one.method, []).append(one.seed)
    limited = {name: method.most_seeds for name, method in plan.methods.items() if method.most_seeds}
    assert limited
    assert block.more_seeds is not None
    for name, seeds in made.items():
        more = block.more_seeds.seeds if name in block.more_seeds.methods else ()
        assert tuple(seeds) == (*block.seeds[: limited.get(name)], *more) == plan.seeds_of(block, name)
    assert plan.seeds_of(block, TEACHER) == (*block.seeds, *block.more_seeds.seeds)


def test_overrides_go_to_their_data_set() -> None:
    """The path of one data set must not become the path of another."""
    plan = read_plan()
    extra = ["amazon_reviews:data.path=reviews", "training.batch_size=4"]
    assert whole_recipe(plan, "amazon_reviews", extra).data.path == "reviews"
    vader = next(jobs(plan, Wanted(datasets=("vader",)), extra)).recipe
    assert (vader.data.path, vader.training.batch_size) == (None, 4)
    with pytest.raises(RecipeError, match="`amazon`"):
        whole_recipe(plan, "vader", ["amazon:data.path=reviews"])


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Wanted(datasets=("veda",)), "data set `veda`"),
        (Wanted(methods=("metta",)), "method `metta`"),
        (Wanted(seeds=(99,)), "seed `99`"),
        (Wanted(fractions=(3.0,)), r"fraction `3\.0`"),
    ],
)
def test_what_the_plan_does_not_have_is_refused(wanted: Wanted, message: str) -> None:
    """A misspelt filter would make nothing, and say that nothing is missing."""
    with pytest.raises(RecipeError, match=message):
        list(jobs(read_plan(), wanted))


def test_filters_choose() -> None:
    """A filter that is not applied would start days of work."""
    wanted = Wanted(datasets=("vader",), methods=("meta", "uniform"), seeds=(1,), fractions=(100.0,))
    assert [str(one) for one in jobs(read_plan(), wanted)] == [
        "vader 100 % uniform seed 1",
        "vader 100 % meta seed 1",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"baselines": ["nobody"]}, "nobody"),
        ({"methods": {TEACHER: {"what": "x"}}}, "teacher"),
        ({"surprise": 1}, "surprise"),
        ({"grid": [{"dataset": "vader", "fraction": 0, "seeds": [0], "methods": "all"}]}, "fraction"),
    ],
)
def test_a_wrong_plan_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    """A baseline without runs would leave a column out without a word."""
    value = yaml.safe_load(PLAN.read_text(encoding="utf-8"))
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump({**value, **change}), encoding="utf-8")
    with pytest.raises(RecipeError, match=message):
        read_plan(path)

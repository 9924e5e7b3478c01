"""The recipe: strict, complete messages, and hashes that change exactly with what they cover."""

from __future__ import annotations

import math
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hrkd.errors import RecipeError
from hrkd.recipe import Precision, Recipe, StudentInit
from hrkd.recipe_file import parse_recipe
from minimal_recipe import MINIMAL, recipe_with

SECTIONS = ("data", "teacher", "student", "method", "training", "export", "bench")


class TestMessages:
    def test_an_unknown_key_is_refused_with_the_nearest_known_one(self) -> None:
        """A misspelt key that is ignored trains for hours with the default."""
        with pytest.raises(RecipeError, match=r"`training\.learning_rat`: unknown key; did you mean `learning_rate`\?"):
            recipe_with(training={"learning_rat": 1})
        with pytest.raises(RecipeError, match=r"`teacher\.training\.epoch`: .* `epochs`\?"):
            recipe_with(teacher={"training": {"epoch": 1}})
        with pytest.raises(RecipeError, match=r"`teachers`: .* `teacher`\?"):
            recipe_with(teachers={})

    def test_without_a_near_one_all_known_keys_are_named(self) -> None:
        """The user has no other list at hand."""
        with pytest.raises(RecipeError, match="known keys: threads, rounds, warmup_texts, cold_starts, max_texts"):
            recipe_with(bench={"zzz": 1})

    def test_all_problems_come_at_once(self) -> None:
        """One problem per run of the command wears the user out."""
        value = {"name": "../x", "seed": -1, "data": {"path": 3}, "student": {"layers": 0, "depth": 2}, "bench": []}
        with pytest.raises(RecipeError) as caught:
            parse_recipe(value, origin="my.yaml")
        first, *lines = caught.value.message.splitlines()
        assert first == "`my.yaml` has 8 problem(s):"
        expected = ["name", "seed", "data.source", "data.path", "teacher", "student.layers", "student.depth", "bench"]
        assert [line.split("`")[1] for line in lines] == expected

    def test_the_wrong_value_is_shown_but_never_whole(self) -> None:
        """A pasted document as a value would bury the other problems."""
        with pytest.raises(RecipeError, match=r"`seed`: input should be a valid integer.*, got 'seven'"):
            recipe_with(seed="seven")
        for huge in ("x" * 100_000, ["x" * 100_000] * 1000, [[[["x"] * 100] * 100] * 100]):
            with pytest.raises(RecipeError) as caught:
                recipe_with(name=huge)
            assert len(caught.value.message) < 2000

    @pytest.mark.parametrize("key", [1, None, 1.5])
    def test_a_key_that_is_no_string_is_named(self, key: object) -> None:
        """YAML reads `1:` as a number and `~:` as nothing."""
        with pytest.raises(RecipeError, match=f"`data.{key}`: keys should be strings"):
            recipe_with(data={key: 1})


class TestValues:
    @pytest.mark.parametrize(
        "name", ["../x", "", "a/b", ".", "..", ".hidden", "-x", "a b", "a\n", "a\\b", "é", "x" * 101]
    )
    def test_a_name_that_leaves_the_runs_folder_is_refused(self, name: str) -> None:
        """The name becomes a folder; `../x` would write outside of `runs`."""
        with pytest.raises(RecipeError, match="`name`"):
            recipe_with(name=name)

    @pytest.mark.parametrize("number", [math.inf, math.nan, -math.inf])
    @pytest.mark.parametrize(
        ("section", "key"), [("training", "epochs"), ("method", "hidden_weight"), ("training", "warmup_fraction")]
    )
    def test_numbers_are_finite(self, section: str, key: str, number: float) -> None:
        """An infinite weight passes every `> 0` and then breaks the stage's hash, or the loss."""
        with pytest.raises(RecipeError, match=f"`{section}.{key}`: input should be a finite number"):
            recipe_with(**{section: {key: number}})

    @pytest.mark.parametrize(
        ("section", "change"),
        [
            ("data", {"max_length": 513}),
            ("data", {"validation_fraction": 1.0}),
            ("data", {"domains": "books"}),
            ("training", {"batch_size": 0}),
            ("training", {"learning_rate": 0.0}),
            ("training", {"precision": "fp16"}),
            ("method", {"temperature": 0}),
            ("method", {"layer_map": [0, 1]}),
            ("export", {"quantize": "int3"}),
            ("export", {"opset": 22}),
            ("bench", {"threads": 1.5}),
            ("student", {"checkpoint": ""}),
        ],
    )
    def test_each_limit_is_kept(self, section: str, change: dict[str, Any]) -> None:
        """Out of range, each of these fails late: after training, or not at all."""
        with pytest.raises(RecipeError, match=f"`{section}.{next(iter(change))}"):
            recipe_with(**{section: change})

    def test_a_recipe_cannot_be_changed(self) -> None:
        """Its hash was already used."""
        with pytest.raises(ValueError, match="frozen"):
            recipe_with().seed = 3


class TestTeacher:
    @pytest.mark.parametrize(
        "teacher",
        [
            {"base": None},
            {"base": "a", "adopt": "b"},
            {"base": None, "adopt": ""},
            {"base": None, "adopt": {}},
            {"base": "a", "adopt": {}},
        ],
    )
    def test_comes_from_exactly_one_place(self, teacher: dict[str, Any]) -> None:
        """With both, one would be silently ignored."""
        with pytest.raises(RecipeError, match="exactly one of `base`"):
            recipe_with(teacher=teacher)

    def test_has_defaults_of_its_own(self) -> None:
        """The student's learning rate ruins a pretrained encoder."""
        recipe = recipe_with(teacher={"training": {"batch_size": 3}})
        assert recipe.teacher.training.learning_rate < recipe.training.learning_rate
        assert recipe.teacher.training.batch_size == 3


class TestStudent:
    @pytest.mark.parametrize(
        ("student", "problem"),
        [
            ({"layers": None}, "`layers` is missing"),
            ({"init": "checkpoint"}, "`checkpoint` goes with"),
            ({"checkpoint": "small"}, "`checkpoint` goes with"),
            ({"init": "checkpoint", "checkpoint": "small", "hidden_size": 4}, "remove hidden_size, layers"),
            ({"init": "random", "teacher_layers": [1, 2]}, "`teacher_layers` goes with"),
            ({"teacher_layers": [1, 2, 3]}, "names 3 layers, `layers` is 2"),
            ({"teacher_layers": []}, "names 0 layers, `layers` is 2"),
        ],
    )
    def test_contradictions_are_refused(self, student: dict[str, Any], problem: str) -> None:
        """One of the two values would be silently ignored."""
        with pytest.raises(RecipeError, match=problem):
            recipe_with(student=student)

    @pytest.mark.parametrize(
        "student",
        [
            {"layers": 2, "teacher_layers": [2, 4]},
            {"layers": 2, "init": "random", "hidden_size": 4, "attention_heads": 1, "intermediate_size": 8},
            {"layers": None, "init": "checkpoint", "checkpoint": "small"},
        ],
    )
    def test_each_way_of_initialising_can_be_written(self, student: dict[str, Any]) -> None:
        """A rule too many shuts out what the method needs."""
        assert recipe_with(student=student).student.init is StudentInit(student.get("init", "teacher_layers"))


class TestSectionHash:
    CHANGES = (
        ("data", {"max_length": 64}),
        ("teacher", {"training": {"epochs": 1.5}}),
        ("student", {"layers": 3}),
        ("method", {"temperature": 2.0}),
        ("training", {"precision": "fp32"}),
        ("export", {"quantize": None}),
        ("bench", {"rounds": 3}),
    )

    @pytest.mark.parametrize(("changed", "change"), CHANGES)
    def test_changes_with_its_section_and_no_other(self, changed: str, change: dict[str, Any]) -> None:
        """Too coarse and every edit retrains; too fine and a stage is skipped that must run."""
        before, after = recipe_with(), recipe_with(**{changed: change})
        for section in SECTIONS:
            assert (before.section_hash(section) != after.section_hash(section)) == (section == changed)
        assert before.section_hash(*SECTIONS) != after.section_hash(*SECTIONS)

    def test_changes_with_the_seed_but_not_with_the_name(self) -> None:
        """Another seed is another result; a renamed run is the same."""
        before = recipe_with()
        assert recipe_with(seed=1).section_hash("data") != before.section_hash("data")
        assert recipe_with(name="other").section_hash(*SECTIONS) == before.section_hash(*SECTIONS)

    def test_a_default_written_out_changes_nothing(self) -> None:
        """Spelling out a default, in any order, must not make a finished stage stale."""
        spelt = recipe_with(training={"warmup_fraction": 0.1, "epochs": 3, "precision": Precision.AUTO.value})
        assert spelt.section_hash("training") == recipe_with().section_hash("training")


KEYS = st.sampled_from(
    [*Recipe.model_fields, "source", "path", "layers", "base", "adopt", "init", "epochs", "layer_map", "", "x"]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["files", "random", "checkpoint", "int8", "1e-4"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(value=VALUES, section=st.sampled_from(["", *SECTIONS]))
def test_any_value_is_a_recipe_or_a_recipe_error(value: Any, section: str) -> None:
    """Whatever a user writes, the answer is a message; another exception is a traceback on their screen."""
    candidate = value if not section else {**MINIMAL, section: value}
    try:
        recipe = parse_recipe(candidate)
    except RecipeError as error:
        message = error.message
    else:
        assert parse_recipe(yaml.safe_load(recipe.to_yaml())) == recipe
        assert recipe.section_hash(*SECTIONS)
        return
    first, *problems = message.splitlines()
    assert first == f"`recipe` has {len(problems)} problem(s):"
    assert all(line.startswith("  `") for line in problems)

"""Recipe files and overrides: whatever is in them, the user gets a recipe or a message."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from hrkd.errors import RecipeError
from hrkd.recipe import Recipe
from hrkd.recipe_file import load_recipe
from minimal_recipe import MINIMAL, recipe_with


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(MINIMAL), encoding="utf-8")
    return path


class TestFile:
    def test_missing_and_unreadable_files(self, tmp_path: Path, file: Path) -> None:
        """Each must be an error of the user with the path, not a traceback."""
        with pytest.raises(RecipeError, match=r"absent\.yaml` does not exist"):
            load_recipe(tmp_path / "absent.yaml")
        with pytest.raises(RecipeError, match="is a folder"):
            load_recipe(tmp_path)
        with pytest.raises(RecipeError, match="cannot be read: Not a directory"):
            load_recipe(file / "recipe.yaml")

    @pytest.mark.parametrize(
        "content",
        [
            b"name: caf\xe9",
            b"name: [",
            b"\x00",
            b"a: 1\n---\nb: 2",
            b"!!python/object/apply:os.system [false]",
            b"name: 2024-13-45",
            b"seed: 0b_",
            b"seed: " + b"1" * 5000,
            b"[" * 5000,
        ],
        ids=["latin-1", "open", "binary", "documents", "python", "date", "digits", "long number", "deep"],
    )
    def test_what_is_not_yaml_is_refused(self, file: Path, content: bytes) -> None:
        """The library lets some of these through as ValueError or RecursionError."""
        file.write_bytes(content)
        with pytest.raises(RecipeError, match=r"recipe\.yaml` is not valid YAML"):
            load_recipe(file)

    @pytest.mark.parametrize("content", ["", "- name: x", "text", "3"])
    def test_what_is_no_mapping_is_refused(self, file: Path, content: str) -> None:
        """An empty file reads as None."""
        file.write_text(content)
        with pytest.raises(RecipeError, match="holds no"):
            load_recipe(file, ["name=x"])

    def test_scientific_notation_is_a_number(self, file: Path) -> None:
        """YAML reads `1e-4` as a string; everyone writes learning rates so."""
        file.write_text(yaml.safe_dump(MINIMAL) + "training: {learning_rate: 1e-4}\n")
        assert load_recipe(file).training.learning_rate == 1e-4

    def test_every_default_round_trips(self, file: Path) -> None:
        """The recipe in the run folder must say what was done, also after defaults change."""
        recipe = load_recipe(file)
        file.write_text(recipe.to_yaml(), encoding="utf-8")
        assert load_recipe(file) == recipe
        written = yaml.safe_load(recipe.to_yaml())
        assert list(written) == list(Recipe.model_fields)
        sections = {name: section for name, section in recipe if isinstance(section, BaseModel)}
        assert len(sections) == 7
        for name, section in sections.items():
            assert list(written[name]) == list(type(section).model_fields)

    def test_every_kind_of_value_round_trips(self, file: Path) -> None:
        """Tuples, enumerations, mappings and other scripts each take another way through YAML."""
        recipe = recipe_with(
            data={"domains": ["Bücher", "yes", "1"]},
            teacher={"base": None, "adopt": {"Bücher": "a", "yes": "b", "1": "c"}},
            student={"layers": 2, "init": "teacher_layers", "teacher_layers": [2, 4]},
            method={"layer_map": [1, 3], "graph": "reference", "temperature": 1e-07},
            training={"precision": "bf16", "epochs": 0.1},
            export={"quantize": None},
        )
        file.write_text(recipe.to_yaml(), encoding="utf-8")
        assert load_recipe(file) == recipe


class TestOverrides:
    def test_nested_and_new_sections(self, file: Path) -> None:
        """An override that lands beside its key leaves the file's value in force."""
        overrides = ["teacher.training.epochs=0.5", "seed=3", "method.layer_map=[1, 2]", "data.path=a=b", "seed=4"]
        recipe = load_recipe(file, overrides)
        assert recipe.teacher.training.epochs == 0.5
        assert recipe.teacher.base == "bert"
        assert recipe.method.layer_map == (1, 2)
        assert recipe.data.path == "a=b"
        assert recipe.seed == 4, "the last one counts"

    def test_sections_that_share_a_yaml_anchor_stay_apart(self, file: Path) -> None:
        """Prevents `--set training.epochs=1` from silently changing the teacher's training as well."""
        value = {**MINIMAL, "training": {"epochs": 5.0}}
        value["teacher"] = {**MINIMAL["teacher"], "training": value["training"]}
        file.write_text(yaml.safe_dump(value), encoding="utf-8")
        assert "&id001" in file.read_text(encoding="utf-8")
        recipe = load_recipe(file, ["training.epochs=1", "training.cache_teacher=true"])
        assert (recipe.training.epochs, recipe.teacher.training.epochs) == (1.0, 5.0)

    def test_null_removes_a_value(self, file: Path) -> None:
        """Otherwise a teacher could not be adopted over a recipe that trains one."""
        recipe = load_recipe(file, ["teacher.base=null", "teacher.adopt=mine"])
        assert (recipe.teacher.base, recipe.teacher.adopt) == (None, "mine")

    @pytest.mark.parametrize(
        ("override", "problem"),
        [
            ("seed", "not of the form"),
            ("=3", "not of the form"),
            ("", "not of the form"),
            ("seed=[", "not valid YAML"),
            ("seed=2024-13-45", "not valid YAML"),
            ("seed=" + "[" * 5000, "not valid YAML"),
            ("name.first=x", "`name` is not a section"),
            ("data.path.x=1", "`path` is not a section"),
            ("data.sources=files", "did you mean `source`"),
            (".=1", "unknown key"),
            ("a..b=1", "unknown key"),
            ("data=3", "`data`: input should be"),
        ],
    )
    def test_a_wrong_one_is_refused(self, file: Path, override: str, problem: str) -> None:
        """An override without effect makes two runs equal that should differ."""
        with pytest.raises(RecipeError, match=problem):
            load_recipe(file, [override])


def test_a_key_written_twice_is_refused(tmp_path: Path) -> None:
    """YAML takes the last one without a word, and the run is not the one that was read at the top of the file."""
    path = tmp_path / "twice.yaml"
    path.write_text("name: a\nstudent: {layers: 2}\nname: b\n", encoding="utf-8")
    with pytest.raises(RecipeError, match="`name` stands twice"):
        load_recipe(path)

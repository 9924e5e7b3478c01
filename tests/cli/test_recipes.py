"""`hrkd recipe`, and how a recipe is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from hrkd.recipe import Recipe
from hrkd_cli.bundles import default_output
from hrkd_cli.recipes import bench_config, export_config, open_recipe, recipe_beside, shipped_text


def test_list_is_one_document_with_a_line_each(hrkd) -> None:
    """Prevents a recipe that is in the package but cannot be found."""
    result = hrkd("recipe", "list", "--json")
    assert set(result.document) == {"amazon_reviews", "demo", "multi_nli"}
    assert all(len(line) > 20 for line in result.document.values())


def test_show_prints_the_file_with_its_comments(hrkd) -> None:
    """Prevents a shown recipe that is not the one that runs, or that lost its how-to."""
    assert hrkd("recipe", "show", "demo").out == shipped_text("demo")


def test_show_json_is_the_resolved_recipe(hrkd) -> None:
    """Prevents a JSON form that a reader cannot turn back into the recipe."""
    assert Recipe.model_validate(hrkd("recipe", "show", "demo", "--json").document) == open_recipe("demo")


def test_unknown_name_lists_the_known(hrkd) -> None:
    """Prevents a dead end."""
    result = hrkd("recipe", "show", "demmo")
    assert result.code == 2
    assert "`demmo`" in result.err
    assert "amazon_reviews, demo, multi_nli" in result.err


def test_a_file_wins_over_a_shipped_name(tmp_path: Path, monkeypatch) -> None:
    """Prevents a user's own file `demo` from being passed over in silence."""
    (tmp_path / "demo").write_text(shipped_text("demo").replace("name: demo", "name: mine"), encoding="utf-8")
    assert open_recipe("demo").name == "demo"
    monkeypatch.chdir(tmp_path)
    assert open_recipe("demo").name == "mine"


def test_all_problems_are_reported_at_once(tmp_path: Path, hrkd) -> None:
    """Prevents the loop of one corrected key per attempt."""
    result = hrkd("recipe", "validate", "demo", "--set", "training.epohcs=1", "--set", "data.max_length=4")
    assert result.code == 2
    assert "has 2 problem(s)" in result.err
    assert "`training.epohcs`: unknown key; did you mean `epochs`?" in result.err
    assert "`data.max_length`" in result.err


def test_overrides_reach_the_recipe(hrkd) -> None:
    """Prevents a `--set` that is parsed and then ignored."""
    result = hrkd("recipe", "validate", "demo", "--json", "--set", "student.layers=3", "--set", "seed=7")
    assert result.document["seed"] == 7


def test_what_is_valid_is_said_with_all_that_made_it_so(hrkd) -> None:
    """Prevents a suggested command that runs something else than was checked, or that is refused."""
    overrides = ("--set", "student.layers=3", "--set", "data.domains=[movies, news]")
    said = hrkd("recipe", "validate", "demo", *overrides).out
    assert "`hrkd run demo --set student.layers=3 --set 'data.domains=[movies, news]'`" in said
    assert "`hrkd distill demo" in hrkd("recipe", "validate", "demo", "--set", "student.per_domain=true").out


def test_a_model_folder_called_dot_knows_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents an export from inside the folder that silently takes default settings."""
    (tmp_path / "recipe.yaml").write_text(shipped_text("demo"), encoding="utf-8")
    (tmp_path / "student").mkdir()
    monkeypatch.chdir(tmp_path / "student")
    recipe = recipe_beside(Path())
    assert recipe is not None
    assert default_output(Path(), recipe.export) == tmp_path / "bundles" / "int8"
    assert default_output(Path("student"), recipe.export) == Path("bundles/int8")


def test_export_options_go_over_the_runs_recipe() -> None:
    """Prevents a default that hides the recipe's value, and a `--quantize` left out that quantises anyway."""
    recipe = open_recipe("demo", ["export.target=arm64", "export.opset=18"])
    assert export_config(recipe, quantize=None).quantize is None
    merged = export_config(recipe, quantize="int8", backend="ort")
    assert (merged.quantize, merged.target, merged.backend, merged.opset) == ("int8", "arm64", "ort", 18)
    assert export_config(None, quantize="int8", target="avx2").target == "avx2"


def test_bench_options_keep_the_defaults_they_do_not_name() -> None:
    """Prevents an option left out from becoming a value."""
    assert bench_config(threads=None, max_texts=None) == open_recipe("demo").bench.__class__()
    assert bench_config(threads=2, max_texts=9).model_dump(include={"threads", "max_texts"}) == {
        "threads": 2,
        "max_texts": 9,
    }

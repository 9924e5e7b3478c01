"""What `hrkd data` does: known data sets by name, and the report on any."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hrkd.data.check import check_dataset
from hrkd.data.fetch import fetch_vader
from hrkd.data.load import load_dataset
from hrkd.errors import DataError, HrkdError, RecipeError
from hrkd.recipe import DataConfig, DataSource
from hrkd_cli.extras import is_installed
from hrkd_cli.output import Output
from hrkd_cli.recipes import from_options, open_recipe, shipped_recipes
from hrkd_cli.tables import data_table


def fetch_by_name(name: str, archive: Path | None, output: Output) -> Path:
    """Bring a known data set and return its folder.

    Raises:
        DataError: No data set of that name can be fetched.
    """
    if name != DataSource.VADER:
        raise DataError(
            f"`{name}` cannot be fetched; `{DataSource.VADER}` can",
            hint="amazon_reviews: give `data.path`; multi_nli and hub: they are fetched when a recipe needs them",
        )
    output.note(f"fetching {name}")
    return fetch_vader(archive=archive)


def data_config(
    source: str, options: Mapping[str, str | None], overrides: Sequence[str]
) -> tuple[DataConfig, str | None]:
    """Find out which data `hrkd data check` was asked about.

    Args:
        source: Recipe file, name of a shipped recipe, or name of a source, looked up in this order.
        options: Values of the recipe's `data` section by key; None means "not given".
        overrides: ``section.key=value`` strings; for recipes only.

    Returns:
        The data section, and the pretrained model whose tokenizer counts tokens, if the recipe names one.

    Raises:
        RecipeError: It is none of them, or a value is wrong.
    """
    given = {key: value for key, value in options.items() if value is not None}
    if source in set(DataSource) and source not in shipped_recipes() and not Path(source).is_file():
        if overrides:
            raise RecipeError("`--set` goes with a recipe", hint="use the options of `hrkd data check` for a source")
        return from_options(data={"source": source, **given}).data, None
    # JSON strings are YAML strings, whatever they hold.
    as_overrides = [f"data.{key}={json.dumps(value)}" for key, value in given.items()]
    recipe = open_recipe(source, [*overrides, *as_overrides])
    return recipe.data, recipe.teacher.base


def check_data(config: DataConfig, base: str | None, output: Output) -> None:
    """Load a data set and print the report on it."""
    dataset = load_dataset(config)
    report = check_dataset(dataset, token_counter(base, output), config.max_length)
    findings = "\n".join(report.problems()) or "nothing found that would change what a score means"
    output.result(report.to_dict(), data_table(report), findings)


def token_counter(base: str | None, output: Output) -> Callable[[str], int] | None:
    """Return what counts a text's tokens for the teacher, or None where that is unknown; then lengths are left out."""
    if base is None:
        return None
    if not is_installed("transformers"):
        output.note("over-long texts are not counted: that needs pip install 'hrkd[train]'")
        return None
    from hrkd.models import load_tokenizer

    try:
        tokenizer = load_tokenizer(base)
    except HrkdError as error:
        output.warning(f"over-long texts are not counted: {error.message}")
        return None
    return lambda text: len(tokenizer(text, verbose=False)["input_ids"])

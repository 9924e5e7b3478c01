"""`hrkd recipe`: the shipped recipes, and checking one's own."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from hrkd_cli.options import Json, Overrides, RecipeArgument

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="List, show and check recipes.")


@app.command("list")
def list_recipes(as_json: Json = False) -> None:
    """List the shipped recipes."""
    from hrkd_cli.output import Output
    from hrkd_cli.recipes import shipped_recipes, shipped_text

    summaries = {name: shipped_text(name).splitlines()[0].lstrip("# ") for name in shipped_recipes()}
    width = max(map(len, summaries))
    Output(as_json).result(summaries, "\n".join(f"{name:{width}}  {text}" for name, text in summaries.items()))


@app.command(epilog="\b\nExample:\n  hrkd recipe show demo > my.yaml")
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a shipped recipe.")], as_json: Json = False
) -> None:
    """Print a shipped recipe with its comments, to start your own from."""
    from hrkd_cli.output import Output
    from hrkd_cli.recipes import open_shipped, shipped_text

    text = shipped_text(name)
    Output(as_json).result(open_shipped(name).model_dump(mode="json"), text.rstrip("\n"))


@app.command(epilog="\b\nExample:\n  hrkd recipe validate my.yaml --set student.layers=4")
def validate(recipe: RecipeArgument, overrides: Overrides = None, as_json: Json = False) -> None:
    """Check a recipe; all problems are reported at once."""
    from hrkd_cli.output import Output
    from hrkd_cli.recipes import open_recipe

    loaded = open_recipe(recipe, overrides)
    options = "".join(f" --set {shlex.quote(override)}" for override in overrides or ())
    command = "distill" if loaded.student.per_domain else "run"
    words = f"{recipe} is valid; `hrkd {command} {shlex.quote(recipe)}{options}` goes on from here"
    Output(as_json).result(loaded.model_dump(mode="json"), words)

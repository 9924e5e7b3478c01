"""Reading a recipe: YAML and overrides in, a :class:`hrkd.recipe.Recipe` or all of its problems out."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from hrkd.errors import RecipeError
from hrkd.recipe import Recipe

SHORT = reprlib.Repr()
"""Shows a wrong value of any size on one line."""
SHORT.maxstring = SHORT.maxother = 100


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file.

    Args:
        path: YAML file.
        overrides: ``section.key=value`` strings, the value read as YAML, applied over the file.

    Raises:
        RecipeError: The file is missing or not YAML, or any key or value is wrong; all problems in one message.
    """
    try:
        value = read_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecipeError(f"recipe `{path}` does not exist", hint="see `hrkd recipe list`") from error
    except IsADirectoryError as error:
        raise RecipeError(f"recipe `{path}` is a folder", hint="give the YAML file") from error
    except OSError as error:
        raise RecipeError(f"recipe `{path}` cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise RecipeError(f"recipe `{path}` is not valid YAML: {error}") from error
    if not isinstance(value, dict):
        raise RecipeError(f"recipe `{path}` holds no `section: ...` mapping")
    for override in overrides:
        _apply_override(value, override)
    return parse_recipe(value, origin=str(path))


def parse_recipe(value: Mapping[str, Any], *, origin: str = "recipe") -> Recipe:
    """Validate an already loaded mapping; see :func:`load_recipe`."""
    try:
        return Recipe.model_validate(value)
    except ValidationError as error:
        problems = "\n".join(f"  {_describe(problem)}" for problem in error.errors())
        raise RecipeError(f"`{origin}` has {error.error_count()} problem(s):\n{problems}") from error


def _apply_override(value: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise RecipeError(f"override `{override}` is not of the form `section.key=value`")
    *parents, last = key.split(".")
    node = value
    for parent in parents:
        section = node.get(parent, {})
        if not isinstance(section, dict):
            raise RecipeError(f"override `{override}`: `{parent}` is not a section")
        node[parent] = dict(section)  # a copy: through a YAML alias another section may be the same object
        node = node[parent]
    try:
        node[last] = read_yaml(text)
    except ValueError as error:
        raise RecipeError(f"override `{override[:80]}`: the value is not valid YAML") from error


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a key that is written twice, of which YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping, or say which key stands twice."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"the key `{twice}` stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def read_yaml(text: str) -> Any:
    """Read YAML without objects, and without keys that stand twice.

    Raises:
        ValueError: It is not valid YAML; the message says where.
    """
    try:
        return yaml.load(text, _UniqueKeyLoader)  # noqa: S506  (a SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # the library lets a 13th month through as ValueError
        raise ValueError(str(error)) from error


def _describe(problem: Mapping[str, Any]) -> str:
    """Say one pydantic problem as `section.key`: what is wrong, with a suggestion for a misspelt key."""
    location = ".".join(str(part) for part in problem["loc"]) or "recipe"
    if problem["type"] == "extra_forbidden":
        known = _known_keys(problem["loc"][:-1])
        close = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
        advice = f"did you mean `{close[0]}`?" if close else f"known keys: {', '.join(known)}"
        return f"`{location}`: unknown key; {advice}"
    if problem["type"] == "missing":
        return f"`{location}`: missing"
    message = str(problem["msg"]).removeprefix("Value error, ")
    got = "" if isinstance(problem["input"], dict) else f", got {SHORT.repr(problem['input'])}"
    return f"`{location}`: {message[0].lower()}{message[1:]}{got}"


def _known_keys(location: Sequence[int | str]) -> list[str]:
    section: type[BaseModel] = Recipe
    for part in location:
        annotation = section.model_fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        section = annotation
    return list(section.model_fields)

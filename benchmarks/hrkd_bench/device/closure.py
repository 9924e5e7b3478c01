"""Which of our modules a device needs: found from their imports, so that no list can fall behind the code."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from hrkd.errors import BenchError

OWN = ("hrkd", "hrkd_bench")
ON_A_DEVICE = frozenset({"numpy", "onnxruntime", "tokenizers"})
"""All that is installed there."""
_START = "hrkd_bench.device.session"
_NOT_THERE = frozenset({"hrkd.inference", "hrkd.engines.open_vino"})
"""Modules of other engines: named by ours, never imported while onnxruntime runs a bundle."""
_FALL_BACKS = frozenset({"psutil"})
"""Imported where the system does not answer by itself, which is on no system that a device runs."""
_BY_NAME = re.compile(rf"({'|'.join(OWN)})(\.\w+)+(:\w+)?")
"""A module that is started with `-m`, or a class that is imported by its name."""


def device_files() -> dict[str, Path]:
    """Return every file that a device needs, by its path inside the packed file.

    Raises:
        BenchError: A module imports what no device has: a mistake of ours, caught before anything is sent.
    """
    files: dict[str, Path] = {}
    waiting, seen = [_START], set(_NOT_THERE)
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        path = _file_of(module)
        if path is None:
            continue
        package = path.name == "__init__.py"
        inside = module.replace(".", "/") + ("/__init__.py" if package else ".py")
        files[inside] = path
        tree = ast.parse(path.read_text(encoding="utf-8"))
        files |= {f"{inside.rpartition('/')[0]}/{name}": file for name, file in _data_beside(path, tree).items()}
        waiting += [module.rpartition(".")[0], *_needed(tree, module)]
    return dict(sorted(files.items()))


def _file_of(module: str) -> Path | None:
    """Return the source of a module; None for a name that is none, as of a class."""
    try:
        spec = importlib.util.find_spec(module) if module else None
    except ModuleNotFoundError:
        return None
    return None if spec is None or spec.origin is None else Path(spec.origin)


def _needed(tree: ast.Module, module: str) -> Iterator[str]:
    for name in _names(tree):
        top = name.partition(".")[0]
        if top in OWN:
            yield name
        elif top not in ON_A_DEVICE | _FALL_BACKS and top not in sys.stdlib_module_names:
            raise BenchError(f"`{module}` imports `{top}`, which a device does not have", hint="report this as a bug")


def _names(node: ast.AST) -> Iterator[str]:
    """Yield what is imported anywhere but for type checkers, and modules that are named in text."""
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module is not None:
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _BY_NAME.fullmatch(node.value):
        yield node.value.partition(":")[0]
    for child in ast.iter_child_nodes(node):
        yield from _names(child)


def _data_beside(path: Path, tree: ast.Module) -> dict[str, Path]:
    """Return the files of a folder beside a module that the module names in ``with_name``."""
    named = [
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "with_name"
        and node.args
        and isinstance(node.args[0], ast.Constant)
    ]
    folders = [path.with_name(name) for name in named if isinstance(name, str)]
    found = (file for folder in folders if folder.is_dir() for file in sorted(folder.iterdir()) if file.is_file())
    return {f"{file.parent.name}/{file.name}": file for file in found}

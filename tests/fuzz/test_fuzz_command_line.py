"""The command line: every command with drawn options, values, files and standard input.

The commands are read from the program itself, so a new one is fuzzed without a change here. What would take minutes or
need a network (training, export, measuring, fetching, publishing) refuses at its door.
"""

from __future__ import annotations

import json
import pkgutil
import shutil
from collections.abc import Iterator
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import pytest
import typer.main
from hypothesis import given
from hypothesis import strategies as st

import hrkd_cli
from fuzz.budget_of_cases import share
from fuzz.guard import EXIT_CODES, Arena, call, contents
from fuzz.mutations import HOSTILE_TEXTS, damaged_bytes
from hrkd.bundle_archive import pack_bundle
from hrkd.errors import HrkdError
from hrkd_cli.main import app, main
from tiny import make_rows, write_jsonl
from tiny_bundle import make_bundle

pytestmark = pytest.mark.filterwarnings("ignore")
WITHOUT_INPUT = {("doctor",)}
"""Commands that look at the machine only: seconds of work, and nothing to draw."""
DOORS = (
    "subprocess:Popen",
    "hrkd.training.distill:run_training",
    "hrkd.training.teacher:run_training",
    "hrkd.bundle_hub:push_bundle",
    "hrkd_cli.bundles:export_bundle",
    "hrkd_cli.bundles:make_chosen",
    "hrkd_bench.bench:bench_subjects",
    "hrkd_cli.plan_build:Workshop.build",
)
"""Where long work begins, and every other program; each is reached only after what can be refused was."""


class Closed(HrkdError):
    """The work itself is not done here."""


def refuse(*_arguments: Any, **_options: Any) -> NoReturn:
    raise Closed("long work was reached, and is not done here")


@pytest.fixture(scope="session")
def belongings(tmp_path_factory: pytest.TempPathFactory, measurement: dict[str, Any]) -> Path:
    """What lies in the user's folder: one of everything, some of it damaged."""
    folder = tmp_path_factory.mktemp("belongings")
    make_bundle(folder / "bundle", per_domain=6)
    make_bundle(folder / "teacher", role="teacher", per_domain=6)
    pack_bundle(folder / "bundle", folder / "bundle.zip")
    shutil.copytree(folder / "bundle", folder / "damaged")
    (folder / "damaged" / "model.onnx").write_bytes(b"\x08\x08")
    (folder / "encoder").mkdir()
    (folder / "encoder" / "config.json").write_text('{"model_type": "bert", "num_hidden_layers": 2}', encoding="utf-8")
    (folder / "model").mkdir()
    (folder / "model" / "classifier.json").write_text('{"schema_version": 1, "domain_names": ["a"]}', encoding="utf-8")
    write_jsonl(folder / "reviews.jsonl", make_rows(10))
    (folder / "texts.txt").write_text("a fine film\n\nbad\n", encoding="utf-8")
    (folder / "recipe.yaml").write_text(
        "name: own\ndata: {source: files, path: reviews.jsonl}\nteacher: {base: ./encoder}\nstudent: {layers: 2}\n",
        encoding="utf-8",
    )
    (folder / "bench.json").write_text(json.dumps(measurement), encoding="utf-8")
    (folder / "empty").mkdir()
    (folder / "empty.json").write_text("{}", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def closed_doors(belongings: Path) -> Iterator[None]:
    """Long work refuses, once the user's folder is made.

    Everything of the command line is imported before: a module that came in while the doors are closed would keep them
    closed for every later test.
    """
    for info in pkgutil.iter_modules(hrkd_cli.__path__, "hrkd_cli."):
        import_module(info.name)
    with pytest.MonkeyPatch.context() as patch:
        for door in DOORS:
            module, _, name = door.partition(":")
            *owners, last = name.split(".")
            patch.setattr(reduce(getattr, owners, import_module(module)), last, refuse)
        yield


def commands_of(group: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Return every command of a group by its words."""
    found: dict[tuple[str, ...], Any] = {}
    for name, command in group.commands.items():
        inner = getattr(command, "commands", None)
        found |= commands_of(command, (*path, name)) if inner else {(*path, name): command}
    return found


COMMANDS = {
    path: command for path, command in commands_of(typer.main.get_command(app)).items() if path not in WITHOUT_INPUT
}
FILES = (
    *("bundle", "bundle.zip", "damaged", "encoder", "model", "reviews.jsonl", "texts.txt", "recipe.yaml", "bench.json"),
    *(
        "empty",
        "empty.json",
        "missing",
        "missing/deeper",
        "new",
        "new.json",
        "./new",
        "bundle/manifest.json",
        "teacher",
    ),
    *("bundle/", "reviews.jsonl/x", "-", "~nobody/x"),
)
LIKELY = {
    "recipe": ("recipe.yaml", "demo", "amazon_reviews", "recipe.yaml"),
    "source": ("recipe.yaml", "demo", "files", "vader", "bench.json", "reviews.jsonl", "texts.txt", "teacher"),
    "name": ("demo", "vader", "multi_nli"),
    "budget": ("p95=5ms,size=10MB", "p50=1us", "worst-domain-drop=1.0", "p95=5", "size=0B"),
    "grid": ("layers=1,2", "width=16,32", "vocab=full", "layers=0", "precision=int8"),
    "overrides": ("student.layers=3", "data.path=texts.txt", "name=../x", "training.epochs=.inf", "data={}", "a.b.c=1"),
    "texts": ("a fine film", "é" * 200, "\u202e"),
    "domain": ("books", "films", "Books", "garden"),
    "repository": ("user/name", "../x", "a b/c"),
    "quantize": ("int8", "auto", "fp32", "int3"),
    "target": ("avx2", "arm64", "auto", "z80"),
    "runtime_version": ("1.16", "1.x", "99.0.0"),
    "slowdown": ("3%", "0.1", "-3%", "3"),
    "growth": ("3%", "100%"),
    "form": ("text", "jsonl"),
    "unknown_domain": ("refuse", "mean"),
    **dict.fromkeys(
        ("threads", "max_texts", "rounds", "rate", "minutes", "measured", "max_rows"), ("1", "0", "-1", "4")
    ),
}
argument_texts = st.one_of(
    st.sampled_from([text for text in HOSTILE_TEXTS if "\0" not in text and text.isascii() and "/" not in text]),
    st.sampled_from(("é", "\udc80", "--", "-h", "-1", "0", "1", "2.5", "1e9")),
    st.text(st.characters(codec="utf-8", exclude_characters="\0/"), max_size=12),
)


def value_of(parameter: Any) -> st.SearchStrategy[str]:
    """Return values for a parameter: what it is for, any file of the folder, or anything."""
    names = st.sampled_from(FILES)
    likely = st.sampled_from(LIKELY.get(parameter.name, FILES))
    return st.one_of(likely, likely, likely, names, argument_texts)


@st.composite
def lines(draw: st.DrawFn) -> list[str]:
    """Return the arguments of one call."""
    path = draw(st.sampled_from(sorted(COMMANDS)))
    arguments, options = [], []
    for parameter in COMMANDS[path].params:
        if parameter.param_type_name == "argument":
            count = draw(st.sampled_from((1, 1, 1, 1, 0, 2))) if parameter.nargs == 1 else draw(st.integers(0, 2))
            arguments += [draw(value_of(parameter)) for _ in range(count)]
        elif draw(st.integers(0, 9)) < (8 if parameter.required else 2):
            options.append(draw(st.sampled_from((*parameter.opts, *parameter.secondary_opts))))
            if not getattr(parameter, "is_flag", False):
                options.append(draw(value_of(parameter)))
    if not draw(st.integers(0, 19)):
        options.append(draw(argument_texts))
    return [*path, *arguments, *options]


@share(0.15)
@given(line=lines(), stdin=damaged_bytes(b'a fine film\n{"text": "bad", "domain": "books"}\n'))
def test_any_line_ends_in_a_known_exit_code(
    arena: Arena, belongings: Path, closed_doors: None, line: list[str], stdin: bytes
) -> None:
    """Prevents tracebacks for slips of the user, and output that replaces a file nobody wanted replaced."""
    with arena.case(lambda box: shutil.copytree(belongings, box, dirs_exist_ok=True)) as box:
        before = contents(box)
        called = call(main, line, stdin)
        assert called.code in EXIT_CODES, called
        assert "Traceback" not in called.err
        if called.code == 2:
            assert called.err.strip(), "refused without a word"
        if called.code == 0 and "--json" in line and not {"-h", "--help"} & set(line):
            json.loads(called.out)
        if "--overwrite" not in line:
            after = contents(box)
            changed = [name for name, digest in before.items() if after.get(name) != digest]
            assert not changed, f"replaced without --overwrite: {changed}"


def test_every_command_is_drawn_from() -> None:
    """Prevents the reading of the program's commands from finding a few only, so that the others are never fuzzed."""
    assert {("run",), ("bench", "measure"), ("bundle", "unpack"), ("data", "check"), ("recipe", "show")} <= set(
        COMMANDS
    )
    assert all(command.params for path, command in COMMANDS.items() if path != ("recipe", "list"))

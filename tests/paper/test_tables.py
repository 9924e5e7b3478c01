"""Tables say what the JSON says, and nothing that it does not say."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from paper.bits import unpack
from paper.plan import PLAN
from paper.summary import BEGIN, END
from paper.tables import NOTHING, main


@pytest.fixture
def render(tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Return a function that renders a results folder and returns exit code and text; README has marks."""
    value = yaml.safe_load(PLAN.read_text(encoding="utf-8"))
    value["datasets"] = {"tiny": {"recipe": "demo", "what": "tiny texts"}}
    value["methods"] = {name: {"what": f"the {name} one"} for name in ("uniform", "first", "second")}
    value["grid"] = [{"dataset": "tiny", "fraction": 100, "seeds": [0, 1], "methods": "all"}]
    value["baselines"] = ["uniform", "second"]
    value["summary"] = {"baselines": ["uniform"], "methods": ["first"]}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(value, sort_keys=False), encoding="utf-8")
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")

    def run(results: Path, *flags: str) -> tuple[int, str]:
        output = tmp_path / "RESULTS.md"
        arguments = ["--results", str(results), "--plan", str(tmp_path / "plan.yaml"), "--output", str(output)]
        code = main([*arguments, "--readme-file", str(readme), *flags])
        return code, output.read_text(encoding="utf-8") if output.is_file() else ""

    return run


def rows(text: str, name: str) -> list[list[str]]:
    """Return the cells of the table rows that begin with a method's name."""
    return [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith(f"| {name} |")
    ]


def test_the_numbers_are_those_of_the_json(
    made_up: Callable[..., Path], render: Callable[..., tuple[int, str]]
) -> None:
    """A column under the wrong domain, or a mean over the wrong axis, looks just as plausible."""
    results = made_up()
    code, text = render(results)
    assert code == 0
    answers = [
        unpack(json.loads((results / f"tiny/100/first/seed-{seed}.json").read_text())["scores"]["correct"], 240)
        for seed in (0, 1)
    ]
    books, films = (100 * np.array([part.reshape(2, 120)[domain].mean() for part in answers]) for domain in (0, 1))
    average = (books + films) / 2
    cells = rows(text, "first")[1]  # the first is under Methods
    assert cells[1:4] == [
        "2",
        f"{books.mean():.1f} ± {books.std(ddof=1):.1f}",
        f"{films.mean():.1f} ± {films.std(ddof=1):.1f}",
    ]
    assert cells[4] == f"**{average.mean():.2f} ± {average.std(ddof=1):.2f}**"
    assert "| method | seeds | books | films | average | of teacher |" in text
    method, minus_uniform, _ = rows(text, "first")[2]
    assert (method, minus_uniform.split(" ")[0][0]) == ("first", "+")
    assert re.fullmatch(r"[+-]\d+\.\d\d \([+-]\d+\.\d\d to [+-]\d+\.\d\d\) \**[a-z ]+\**", minus_uniform)


def test_leaking_texts_are_left_out_of_the_second_table(
    made_up: Callable[..., Path], render: Callable[..., tuple[int, str]]
) -> None:
    """A second table with the first one's numbers would hide the leak that it is there to show."""
    _, text = render(made_up(leaks=60))
    with_leaks, without = rows(text, "uniform")[1], rows(text, "uniform")[3]
    assert "Without the 60 test texts that also stand in train" in text
    assert with_leaks[2] != without[2]
    assert with_leaks[3] == without[3]  # the made-up leak is all in the first domain


def test_without_leaks_there_is_one_table(made_up: Callable[..., Path], render: Callable[..., tuple[int, str]]) -> None:
    """Two equal tables read as if a leak had been removed."""
    assert "Without the" not in render(made_up(leaks=0))[1]


def test_unfinished_rows_are_marked(made_up: Callable[..., Path], render: Callable[..., tuple[int, str]]) -> None:
    """A mean of one run beside means of two must not look the same, and one run must give no verdict."""
    _, text = render(made_up(first=1))
    assert rows(text, "first")[1][1] == "**1 of 2**"
    assert "one seed" in rows(text, "first")[2][1]
    assert rows(text, "second")[1][1] == "2"
    assert "not finished" in text


def test_seeds_decided_on_later_are_also_shown_alone(
    made_up: Callable[..., Path], render: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    """After a look at the first seeds, an interval over all of them is too favourable, and nobody would see it."""
    results = made_up(leaks=0, teacher=4, first=4, uniform=4)
    plan = tmp_path / "plan.yaml"
    value = yaml.safe_load(plan.read_text(encoding="utf-8"))
    value["grid"][0]["more_seeds"] = {"seeds": [2, 3], "methods": ["first", "uniform"]}
    plan.write_text(yaml.safe_dump(value, sort_keys=False), encoding="utf-8")
    all_of_them, later = rows(render(results)[1], "first")[2:4]
    assert later[1] != all_of_them[1]
    for seed in (0, 1):
        for path in results.glob(f"tiny/100/*/seed-{seed}.json"):
            path.unlink()
    value["grid"][0] |= {"seeds": [2, 3], "more_seeds": None}
    plan.write_text(yaml.safe_dump(value, sort_keys=False), encoding="utf-8")
    text = render(results)[1]
    assert "decided on later" not in text
    assert rows(text, "first")[2][1] == later[1]


def test_other_teachers_are_told(made_up: Callable[..., Path], render: Callable[..., tuple[int, str]]) -> None:
    """Methods that imitated different teachers are not on equal terms."""
    results = made_up()
    assert "same teacher**" not in render(results)[1]
    path = results / "tiny/100/first/seed-1.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**document, "teacher_hash": "other"}), encoding="utf-8")
    assert "same teacher** (seed 1)" in render(results)[1]


def test_a_row_of_two_recipes_is_refused(
    made_up: Callable[..., Path], render: Callable[..., tuple[int, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """A method that was changed half-way through its seeds would be averaged with its former self."""
    results = made_up()
    path = results / "tiny/100/first/seed-1.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["recipe"]["training"]["epochs"] = 9.0
    path.write_text(json.dumps(document), encoding="utf-8")
    assert render(results)[0] == 2
    assert "training.epochs was 1.0, is 9.0" in capsys.readouterr().err


def test_rendering_twice_gives_the_same_bytes(
    made_up: Callable[..., Path], render: Callable[..., tuple[int, str]]
) -> None:
    """A table that changes by itself cannot be checked against the JSON."""
    results = made_up()
    first, second = render(results), render(results)
    assert first == second
    assert render(results, "--check")[0] == 0


def test_a_stale_table_is_noticed(made_up: Callable[..., Path], render: Callable[..., tuple[int, str]]) -> None:
    """A number edited by hand, or left from earlier runs, is a claim that nothing backs."""
    results = made_up()
    render(results)
    (results / "tiny/100/first/seed-1.json").unlink()
    assert render(results, "--check")[0] == 1


def test_the_summary_goes_between_the_marks(
    made_up: Callable[..., Path], render: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    """Rewriting README must not eat what people wrote around the block."""
    render(made_up())
    readme = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert readme.startswith(f"before\n{BEGIN}\n")
    assert readme.endswith(f"{END}\nafter\n")
    assert "old" not in readme
    assert [row[0] for row in (*rows(readme, "teacher"), *rows(readme, "first"))] == ["teacher", "first"]
    assert rows(readme, "second") == []


def test_readme_without_marks_is_an_error_only_when_asked_for(
    made_up: Callable[..., Path],
    render: Callable[..., tuple[int, str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A summary that silently goes nowhere leaves README without its numbers."""
    (tmp_path / "README.md").write_text("no marks\n", encoding="utf-8")
    assert render(made_up())[0] == 0
    assert render(made_up("other"), "--readme")[0] == 2
    assert BEGIN in capsys.readouterr().err
    (tmp_path / "README.md").write_text(f"{END} {BEGIN}\n", encoding="utf-8")
    assert render(made_up("third"))[0] == 2


def test_no_runs_are_said_plainly(tmp_path: Path, render: Callable[..., tuple[int, str]]) -> None:
    """An empty file would read as an accident."""
    code, text = render(tmp_path / "nothing")
    assert code == 0
    assert NOTHING in text


def test_the_committed_tables_are_those_of_the_committed_runs() -> None:
    """Published numbers must be rebuilt from the published runs, byte for byte."""
    assert main(["--check"]) == 0

"""`hrkd plan`: from a recipe and a budget to a recipe that fits; measurements are made up where only logic counts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from hrkd.bundle import open_bundle
from hrkd.errors import BenchError, BudgetError, BudgetMissed
from hrkd.plan_shape import Shape
from hrkd.recipe import BenchConfig
from hrkd.recipe_file import load_recipe
from hrkd_bench.bench import bench
from hrkd_bench.device import facts, remote
from hrkd_bench.device.ssh import Target
from hrkd_bench.gate.budget import parse_budget
from hrkd_cli import plan as plan_module
from hrkd_cli.output import Output
from hrkd_cli.plan import PlanRequest, make_plan
from hrkd_export.untrained import StudentSource
from tiny_bundle import make_bundle

GRID = ("layers=1,2,3", "width=16,32", "precision=int8")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A measured document of one subject, to be changed."""
    folder = tmp_path_factory.mktemp("template") / "bundle"
    make_bundle(folder, precision="int8", per_domain=50)
    return bench([folder], config=BenchConfig(rounds=1, warmup_texts=2, cold_starts=1, lengths=(), min_seconds=0.0))


class FakeDevice:
    """Builds nothing and gives every shape a latency by a law, as a device would.

    Attributes:
        built: Names of the shapes in the order of their first build.
        runs: Names of the shapes of each run.
    """

    def __init__(self, template: dict[str, Any], *, slow: str = "") -> None:
        self.template = template
        self.slow = slow
        self.built: list[Shape] = []
        self.runs: list[list[str]] = []

    def build(
        self, _source: StudentSource, shape: Shape, _positions: Sequence[int], bundle: Path, _message: object
    ) -> None:
        self.built.append(shape)
        make_bundle(bundle, name=shape.name, precision="int8", per_domain=2)

    def measure(self, bundles: Sequence[Path], *_: object) -> dict[str, Any]:
        names = [open_bundle(bundle).name for bundle in bundles]
        self.runs.append(names)
        shapes = {shape.name: shape for shape in self.built}
        return self.template | {"results": [self._result(shapes[name]) for name in names]}

    def _result(self, shape: Shape) -> dict[str, Any]:
        result = json.loads(json.dumps(self.template["results"][0]))
        median = 0.1 + 1e-6 * shape.operations(12) + 0.2 * shape.layers + (5.0 if shape.name == self.slow else 0.0)
        result["latency_ms"]["end_to_end"] |= {"p50": median, "p90": median, "p95": 2 * median, "p99": 3 * median}
        size = 1000 + 50 * shape.layers + 80 * shape.hidden_size + shape.encoder_weights
        return result | {"size_bytes": size, "valid": True, "invalid_reasons": []}


def planned(
    device: FakeDevice, recipe: Path, budget: str, tmp_path: Path, monkeypatch, capsys, *, grid: tuple[str, ...] = GRID
) -> dict[str, Any]:
    """Plan on the fake device and return the document."""
    monkeypatch.setattr(StudentSource, "build", lambda *arguments: device.build(*arguments))
    request = PlanRequest(parse_budget(budget), grid, 4, tmp_path / "work", tmp_path / "planned.yaml")
    capsys.readouterr()
    make_plan(load_recipe(recipe), None, request, Output(as_json=True, quiet=True), device.measure)
    return json.loads(capsys.readouterr().out)


def test_the_largest_shape_that_fits_is_measured_and_written(
    template, tiny_recipe, tmp_path, monkeypatch, capsys
) -> None:
    """Prevents a recipe with a shape that was only predicted, or one that is smaller than it need be."""
    device = FakeDevice(template)
    document = planned(device, tiny_recipe, "p50=800us", tmp_path, monkeypatch, capsys)
    medians = {shape["name"]: shape["values"]["p50"]["measured"] for shape in document["shapes"]}
    assert document["chosen"] == "2x32-h4-f64-int8"
    assert medians[document["chosen"]] <= 0.8
    recipe = load_recipe(tmp_path / "planned.yaml")
    assert (recipe.student.layers, recipe.student.hidden_size, recipe.student.intermediate_size) == (2, 32, 64)
    assert recipe.export.quantize == "int8"
    assert recipe.plan is not None
    assert recipe.plan.numbers["p50"].untrained == medians[document["chosen"]]
    assert recipe.name == "tiny-2x32-h4-f64-int8"  # a new run: the old student is not replaced
    assert recipe.data == load_recipe(tiny_recipe).data


def test_a_prediction_that_does_not_hold_is_not_chosen(template, tiny_recipe, tmp_path, monkeypatch, capsys) -> None:
    """Prevents a plan that trusts its law where the device says otherwise."""
    document = planned(FakeDevice(template), tiny_recipe, "p50=800us", tmp_path, monkeypatch, capsys)
    before = document["chosen"]
    (tmp_path / "planned.yaml").unlink()
    slow = FakeDevice(template, slow=before)
    document = planned(slow, tiny_recipe, "p50=800us", tmp_path / "again", monkeypatch, capsys)
    assert (before, document["chosen"]) == ("2x32-h4-f64-int8", "1x32-h4-f64-int8")


def test_a_second_plan_builds_nothing_again(template, tiny_recipe, tmp_path, monkeypatch, capsys) -> None:
    """Prevents minutes of exports for a second budget, and a damaged bundle that is measured all the same."""
    device = FakeDevice(template)
    first = planned(device, tiny_recipe, "p50=800us", tmp_path, monkeypatch, capsys)
    count = len(device.built)
    (tmp_path / "planned.yaml").unlink()
    assert planned(device, tiny_recipe, "p50=800us", tmp_path, monkeypatch, capsys) == first
    assert len(device.built) == count
    (tmp_path / "planned.yaml").unlink()
    damaged = next((tmp_path / "work").glob("*/model.onnx"))
    damaged.write_bytes(b"no graph")
    planned(device, tiny_recipe, "p50=800us", tmp_path, monkeypatch, capsys)
    assert len(device.built) == count + 1


def test_an_impossible_budget_names_limit_and_distance(template, tiny_recipe, tmp_path, monkeypatch, capsys) -> None:
    """Prevents a plan that ends well with nothing, or an error that leaves the user guessing."""
    with pytest.raises(BudgetMissed) as caught:
        planned(FakeDevice(template), tiny_recipe, "p50=100us,size=1GB", tmp_path, monkeypatch, capsys)
    assert "misses p50 by" in caught.value.message
    assert "1x16" in caught.value.message
    assert caught.value.exit_code == 3
    assert not (tmp_path / "planned.yaml").exists()


def test_a_disturbed_plan_writes_no_recipe(template, tiny_recipe, tmp_path, monkeypatch, capsys) -> None:
    """Prevents a recipe, and exit code 0, from times that stand under INVALID in the same output."""

    class Disturbed(FakeDevice):
        def measure(self, bundles: Sequence[Path], *given: object) -> dict[str, Any]:
            document = super().measure(bundles, *given)
            for result in document["results"]:
                result |= {"valid": False, "invalid_reasons": ["stolen"]}
            return document

    grid = ("layers=1,2", "width=16,32", "precision=int8")  # every shape is measured
    with pytest.raises(BudgetMissed, match="can be relied on"):
        planned(Disturbed(template), tiny_recipe, "p50=10ms", tmp_path, monkeypatch, capsys, grid=grid)
    assert not (tmp_path / "planned.yaml").exists()


def test_a_recipe_file_is_never_replaced(template, tiny_recipe, tmp_path, monkeypatch, capsys) -> None:
    """Prevents the loss of a recipe, and minutes of work before the refusal."""
    (tmp_path / "planned.yaml").write_text("mine", encoding="utf-8")
    device = FakeDevice(template)
    with pytest.raises(Exception, match="exists already"):
        planned(device, tiny_recipe, "p50=1ms", tmp_path, monkeypatch, capsys)
    assert (tmp_path / "planned.yaml").read_text(encoding="utf-8") == "mine"
    assert device.built == []


def test_accuracy_cannot_be_planned(template, tiny_recipe, tmp_path, monkeypatch, capsys) -> None:
    """Prevents a limit on accuracy that seems to be held because nobody looked."""
    document = planned(FakeDevice(template), tiny_recipe, "p50=2ms,worst-domain-drop=1", tmp_path, monkeypatch, capsys)
    assert document["not_planned"] == ["worst-domain-drop"]
    assert "worst-domain-drop" in (tmp_path / "planned.yaml").read_text(encoding="utf-8").split("name:")[0]
    with pytest.raises(BudgetError, match="only known after training"):
        planned(FakeDevice(template), tiny_recipe, "accuracy=80%", tmp_path / "b", monkeypatch, capsys)


def test_the_machine_is_watched_between_runs(template, tiny_recipe, tmp_path, monkeypatch, capsys) -> None:
    """Prevents runs on a machine that slowed down between them from being mixed: one speed's law is no other's."""

    class Slowing(FakeDevice):
        def measure(self, bundles: Sequence[Path], *given: object) -> dict[str, Any]:
            document = super().measure(bundles, *given)
            for result in document["results"] if len(self.runs) > 1 else []:
                result["latency_ms"]["end_to_end"]["p50"] *= 1.2
            return document

    device = Slowing(template)
    document = planned(device, tiny_recipe, "p50=850us", tmp_path, monkeypatch, capsys)
    assert len(device.runs) > 2
    assert any("speed changed" in note for note in document["notes"])
    medians = [shape["values"]["p50"]["measured"] for shape in document["shapes"]]
    quiet = planned(FakeDevice(template), tiny_recipe, "p50=850us", tmp_path / "quiet", monkeypatch, capsys)
    before = {shape["name"]: shape["values"]["p50"]["measured"] for shape in quiet["shapes"]}
    both = [(now, before[shape["name"]]) for now, shape in zip(medians, document["shapes"], strict=True)]
    assert [now / then for now, then in both if now and then] == pytest.approx([1.2] * sum(map(all, both)))
    assert sum(map(all, both)) >= 4


def test_the_command_plans_for_real(hrkd, tiny_recipe, tmp_path, undisturbed) -> None:
    """Prevents a command whose parts fit only in tests: real exports, real processes, a recipe that is valid."""
    target = tmp_path / "planned.yaml"
    options = ("--grid", "layers=1,2", "--grid", "width=16,32", "--grid", "precision=int8", "--measure", "4")
    result = hrkd(
        "plan",
        tiny_recipe,
        "--budget",
        "p50=1s,size=10MB",
        *options,
        "--work",
        tmp_path / "work",
        "-o",
        target,
        "--quiet",
    )
    assert result.code == 0, result.err
    assert "chosen: 2x32-h4-f64-int8" in result.out
    assert hrkd("recipe", "validate", target).code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--budget", "p95=5"), "needs one of the units"),
        (("--budget", "p95=5ms", "--grid", "depth=3"), "no axis `depth`"),
        (("--budget", "p95=5ms", "--grid", "vocab=90000"), "90000 pieces"),
        (("--budget", "p95=5ms", "--target", "avx3"), "target `avx3` is unknown"),
        (("--budget", "p95=5ms", "--port", "22"), "belong to --host"),
        (("--budget", "p95=5ms", "--host", "-oProxyCommand=x"), "is no host"),
        (("--budget", "p95=5ms", "--host", "pi@device", "--target", "auto"), "is this machine's processor"),
    ],
)
def test_bad_input_is_refused_before_work(hrkd, tiny_recipe, tmp_path, arguments: tuple[str, ...], words: str) -> None:
    """Prevents minutes of exports before a misspelt option is noticed."""
    result = hrkd("plan", tiny_recipe, *arguments, "--work", tmp_path / "work")
    assert result.code == 2
    assert words in result.err
    assert not list((tmp_path / "work").glob("*/model.onnx"))


def test_a_device_is_where_it_measures(hrkd, tiny_recipe, tmp_path, monkeypatch) -> None:
    """Prevents `--host` from being accepted while this machine is measured, and a build for an unreachable device."""
    options = ("--grid", "layers=1,2", "--grid", "width=16,32", "--grid", "precision=int8", "--measure", "4")
    work = tmp_path / "work"
    elsewhere = ("--target", "arm64", "--work", work)

    def unreachable(target: Target) -> None:
        raise BenchError(f"{target.host}: no route")

    def reached(target: Target, bundles: Sequence[Path], *_: object, **__: object) -> None:
        raise BenchError(f"{len(bundles)} bundles for {target.host}")

    def call() -> str:
        result = hrkd("plan", tiny_recipe, "--budget", "p50=1s", *options, "--host", "pi@device", *elsewhere)
        assert result.code == 2
        return result.err

    monkeypatch.setattr(remote, "measure_there", reached)
    monkeypatch.setattr(facts, "ask", unreachable)
    assert "pi@device: no route" in call()
    assert not work.exists()
    monkeypatch.setattr(facts, "ask", lambda target: None)
    monkeypatch.setattr(facts, "check", lambda *_, **__: None)
    assert "4 bundles for pi@device" in call()


def test_a_teacher_without_a_recipe_is_refused(hrkd, tmp_path) -> None:
    """Prevents a traceback for a model folder that was moved out of its run."""
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher" / "classifier.json").write_text("{}", encoding="utf-8")
    result = hrkd("plan", tmp_path / "teacher", "--budget", "p50=1ms")
    assert result.code == 2
    assert "no recipe stands beside" in result.err
    assert plan_module.PROPOSED >= 1

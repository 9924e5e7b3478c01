"""`--track`: curves at Weights & Biases and MLflow, which are played here; accelerate is the real one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml

from hrkd.artifact import read_json
from hrkd_cli import extras
from hrkd_cli.main import main


class Service:
    """Stands in for both packages and keeps what it was told."""

    def __init__(self) -> None:
        self.began: list[dict[str, Any]] = []
        self.settings: list[dict[str, Any]] = []
        self.points: list[tuple[int, dict[str, float]]] = []
        self.ended = 0
        self.fails_after: int | None = None

    def begin(self, **options: Any) -> SimpleNamespace:
        self.began.append(options)
        return SimpleNamespace(log=self.log, finish=self.end)

    def log(self, values: dict[str, float], step: int, **_: Any) -> None:
        if self.fails_after is not None and len(self.points) >= self.fails_after:
            raise ConnectionError("nobody answers")
        self.points.append((step, values))

    def end(self, *_: Any) -> None:
        self.ended += 1

    def curve(self, name: str) -> dict[int, float]:
        return {step: values[name] for step, values in self.points if name in values}


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Service:
    service, module = Service(), ModuleType("wandb")
    vars(module).update(
        init=service.begin,
        config=SimpleNamespace(update=lambda values, **_: service.settings.append(values)),
    )
    _install(monkeypatch, module)
    return service


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> Service:
    service, module = Service(), ModuleType("mlflow")
    vars(module).update(
        search_experiments=lambda **_: [],
        create_experiment=lambda **options: "1",
        start_run=service.begin,
        log_params=service.settings.append,
        log_metrics=service.log,
        end_run=service.end,
        utils=SimpleNamespace(validation=SimpleNamespace(MAX_PARAM_VAL_LENGTH=500, MAX_PARAMS_TAGS_PER_BATCH=100)),
    )
    _install(monkeypatch, module)
    return service


def _install(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> None:
    for name in ("WANDB_DIR", "WANDB_PROJECT", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    really_installed: Callable[[str], bool] = extras.is_installed
    monkeypatch.setattr(extras, "is_installed", lambda name: name == module.__name__ or really_installed(name))


@pytest.fixture
def short(tmp_path: Path, tiny_recipe: Path) -> Path:
    """The tiny recipe, with a domain whose name no metric may have."""
    value = yaml.safe_load(tiny_recipe.read_text(encoding="utf-8"))
    value["training"] |= {"epochs": 4.0, "batch_size": 4}
    value["teacher"]["training"] |= {"epochs": 4.0, "batch_size": 4}
    rows = Path(value["data"]["path"]).read_text(encoding="utf-8").replace('"books"', '"books & maps"')
    (tmp_path / "renamed.jsonl").write_text(rows, encoding="utf-8")
    value["data"]["path"] = str(tmp_path / "renamed.jsonl")
    tiny_recipe.write_text(yaml.safe_dump(value), encoding="utf-8")
    return tiny_recipe


def train(command: str, recipe: Path, *trackers: str) -> int:
    track = [word for name in trackers for word in ("--track", name)]
    return main([command, str(recipe), "--runs-dir", str(recipe.parent), "--quiet", *track])


def test_both_services_get_the_curves_and_the_recipe(short: Path, wandb: Service, mlflow: Service) -> None:
    """Prevents curves that are not those of the training, a run without its settings, and one that never ends."""
    assert train("teacher", short) == 0
    assert not wandb.began, "nothing is sent unasked"
    assert train("distill", short, "wandb", "mlflow") == 0
    assert [options["name"] for options in wandb.began] == ["tiny/student"]
    assert [options["run_name"] for options in mlflow.began] == ["tiny/student"]
    assert wandb.began[0]["project"] == "hrkd"
    assert Path(wandb.began[0]["dir"]) == short.parent / "tiny" / "events"
    history = read_json(short.parent / "tiny" / "student" / "stage.json")["details"]["history"]
    for service in (wandb, mlflow):
        assert service.ended == 1
        settings = {name: value for part in service.settings for name, value in part.items()}
        assert (settings["training.epochs"], settings["stage"]) == (4.0, "student")
        total = settings["total_steps"]
        assert list(service.curve("loss/loss")) == [1, *range(10, total, 10), total]
        ratios = service.curve("domain_ratios/level_0/books _ maps")
        assert ratios.keys() == service.curve("loss/loss").keys()
        assert list(ratios.values()) == pytest.approx([1 / 3] * len(ratios))  # the default graph is uniform
        assert list(map(list, service.curve("validation/average").items())) == history
    assert wandb.points == mlflow.points


def test_a_service_that_fails_later_does_not_end_the_training(
    short: Path, wandb: Service, mlflow: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prevents a lost connection from costing hours of training, and a silence about what is missing."""
    wandb.fails_after = 2
    arguments = ["teacher", str(short), "--runs-dir", str(short.parent), "--track", "wandb", "--track", "mlflow"]
    assert main(arguments) == 0
    assert (short.parent / "tiny" / "teacher" / "stage.json").is_file()
    assert capsys.readouterr().err.count("wandb is left out from here on: nobody answers") == 1
    assert len(wandb.points) == 2
    assert len(mlflow.points) > 2


def test_a_service_that_cannot_be_reached_is_said_before_training(
    short: Path, wandb: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prevents a night of training whose curves nobody got."""
    monkeypatch.setattr(sys.modules["wandb"], "init", lambda **_: (_ for _ in ()).throw(OSError("not logged in")))
    assert train("teacher", short, "wandb") == 2
    assert "error: wandb cannot be started: not logged in" in capsys.readouterr().err
    assert not wandb.points
    assert not (short.parent / "tiny" / "teacher").exists()


@pytest.mark.parametrize(
    ("missing", "hint"),
    [({"mlflow"}, "pip install mlflow"), ({"mlflow", "accelerate"}, "pip install 'hrkd[trackers]' mlflow")],
)
def test_a_missing_package_is_named_before_the_recipe_is_read(
    missing: set[str], hint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prevents an import error in the middle of a run."""
    monkeypatch.setattr(extras, "is_installed", lambda name: name not in missing)
    assert main(["distill", "no-such-recipe", "--track", "mlflow"]) == 2
    assert f"hint: {hint}\n" in capsys.readouterr().err

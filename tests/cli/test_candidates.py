"""`--quantize auto` after the candidates are made: which measurement decides, and which choice is kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

import tiny_bundle
from hrkd.bundle import Manifest, open_bundle
from hrkd.errors import ArtifactError
from hrkd.recipe import ExportConfig
from hrkd_cli import candidates
from hrkd_cli.output import Output

CONFIG = ExportConfig.model_validate({"quantize": "auto", "target": "avx2"})
STOLEN = "other programs took it"


@dataclass
class Machine:
    """Makes tiny bundles and makes their times up.

    Attributes:
        fastest: Name of the candidate that wins.
        disturbed: Whether times are invalid.
        measured: How often candidates were measured.
        made: Names of the candidates that were made.
    """

    fastest: str = "int8"
    disturbed: bool = False
    measured: int = 0
    made: list[str] = field(default_factory=list)

    def make(self, _checkpoint: Path, bundle: Path, *_: object, **__: object) -> Manifest:
        self.made.append(bundle.name)
        precision = "fp32" if bundle.name == "fp32" else "int8"
        made = tiny_bundle.make_bundle(bundle, name=bundle.name, precision=precision, padding_bytes=len(self.made))
        return replace(made, reference=replace(made.reference, domains={"books": 1.0}))

    def measure(self, bundles: Sequence[Path], **_: object) -> dict[str, Any]:
        self.measured += 1
        reasons = [STOLEN] if self.disturbed else []
        return {
            "results": [
                {
                    "latency_ms": {"end_to_end": {"p50": 1.0 if bundle.name == self.fastest else 2.0}},
                    "valid": not reasons,
                    "invalid_reasons": reasons,
                }
                for bundle in bundles
            ]
        }


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """The candidates are made and measured by it."""
    machine = Machine()
    monkeypatch.setattr(candidates, "make_bundle", machine.make)
    monkeypatch.setattr(candidates, "bench", machine.measure)
    monkeypatch.setattr(candidates, "inputs_hash", lambda *_: "inputs")
    return machine


def choose(bundle: Path, *, overwrite: bool = False) -> tuple[Manifest, list[dict[str, Any]]]:
    output = Output(quiet=True)
    return candidates.make_best(bundle.parent, bundle, CONFIG, output, recipe=None, overwrite=overwrite)


def test_a_disturbed_choice_says_so(machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Prevents a bundle from being shipped as the fastest because of what another program did meanwhile."""
    machine.disturbed = True
    _, rows = choose(tmp_path / "auto")
    assert STOLEN in capsys.readouterr().err
    table = json.loads((tmp_path / "auto.candidates.json").read_text(encoding="utf-8"))
    assert table["candidates"] == rows
    assert {row["valid"] for row in rows} == {False}
    assert rows[0]["invalid_reasons"] == [STOLEN]
    Output().result({}, candidates.candidate_table(rows))
    assert "fp32 INVALID" in capsys.readouterr().out


def test_a_disturbed_choice_is_made_again(machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Prevents the choice of one noisy minute from being kept for ever, whatever the machine does later."""
    machine.fastest, machine.disturbed = "fp32", True
    assert choose(tmp_path / "auto")[0].name == "fp32"
    machine.fastest, machine.disturbed = "int8", False
    assert choose(tmp_path / "auto")[0].name == open_bundle(tmp_path / "auto").name == "int8"
    capsys.readouterr()
    assert choose(tmp_path / "auto")[0].name == "int8"
    assert machine.measured == 2  # the undisturbed choice is kept
    assert capsys.readouterr().err == ""


def test_another_bundle_in_the_winners_place_is_not_kept(machine: Machine, tmp_path: Path) -> None:
    """Prevents `auto` from handing out a bundle that it never chose, beside a table that names another winner."""
    bundle = tmp_path / "auto"
    machine.fastest = "fp32"
    choose(bundle)
    bundle.rename(tmp_path / "old")
    tiny_bundle.make_bundle(bundle, name="int8", precision="int8")
    with pytest.raises(ArtifactError, match="exists already"):
        choose(bundle)
    assert open_bundle(bundle).name == "int8"  # the user's, so it is not replaced unasked
    assert choose(bundle, overwrite=True)[0].name == "fp32"

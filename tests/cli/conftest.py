"""A tiny recipe on disk, and `main` with what it printed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from hrkd_bench.machine import disturbance
from tiny_recipe import write_recipe


@dataclass(frozen=True)
class Result:
    """What one call of `main` gave."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> object:
        return json.loads(self.out)


Run = Callable[..., Result]


@pytest.fixture
def hrkd(capsys: pytest.CaptureFixture[str]) -> Run:
    """Call the command line as a shell would, error funnel included."""
    from hrkd_cli.main import main

    def run(*arguments: str | Path) -> Result:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture
def tiny_recipe(tmp_path: Path, tiny_data: Path, tiny_encoder: Path) -> Path:
    """A recipe on the tiny data and the tiny encoder."""
    return write_recipe(tmp_path / "tiny.yaml", tiny_data, tiny_encoder)


@pytest.fixture(scope="module")
def undisturbed() -> Iterator[None]:
    """Nothing disturbs a measurement: what is kept must not depend on what this machine does beside the tests."""
    judge = disturbance.compare
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            disturbance, "compare", lambda *given, **named: replace(judge(*given, **named), invalid_reasons=())
        )
        yield

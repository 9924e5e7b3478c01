"""The committed JSON: facts about each data set, one document per finished run. No path of the machine is in them.

``results/DATASET/dataset.json`` and ``results/DATASET/FRACTION/METHOD/seed-N.json``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from hrkd.artifact import read_json, write_json
from hrkd.errors import ArtifactError
from paper.bits import unpack

RESULTS = Path(__file__).with_name("results")
DATASET = "dataset.json"

Document = TypeVar("Document", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DatasetFacts(_Strict):
    """What the tables need to know about the test texts, which themselves are not committed.

    Attributes:
        fingerprint: Of the whole data set.
        test_fingerprint: Of the test split: all runs must have been scored on it.
        sizes: Examples by split and domain.
        test_size: Number of test texts, the n of all bit strings.
        test_domains: For each domain, which test texts belong to it, as bits.
        leaking: Which test texts also stand in the whole training split, as bits.
    """

    schema_version: Literal[1] = 1
    dataset: str
    fingerprint: str
    test_fingerprint: str
    labels: tuple[str, ...]
    sizes: Mapping[str, Mapping[str, int]]
    test_size: int
    test_domains: Mapping[str, str]
    leaking: str

    @property
    def domain_names(self) -> tuple[str, ...]:
        """Names in the order of the columns."""
        return tuple(self.test_domains)

    def domains(self) -> NDArray[np.int64]:
        """Return the index of each test text's domain, (n,)."""
        members = np.stack([unpack(bits, self.test_size) for bits in self.test_domains.values()])
        if not (members.sum(axis=0) == 1).all():
            raise ArtifactError(f"`{DATASET}` of {self.dataset}: a test text has no domain, or several")
        domains: NDArray[np.int64] = members.argmax(axis=0)
        return domains

    def leaks(self) -> NDArray[np.bool_]:
        """Return which test texts also stand in train, (n,)."""
        return unpack(self.leaking, self.test_size)


class Scores(_Strict):
    """How good a model is.

    Attributes:
        best_step: Step whose weights were kept.
        validation: Accuracy by domain, of the kept weights.
        test: Accuracy by domain.
        correct: Which test texts it gets right, as bits in the order of the test split.
    """

    best_step: int | None
    validation: Mapping[str, float]
    test: Mapping[str, float]
    correct: str


class Cost(_Strict):
    """What the training took, over all of its attempts.

    Attributes:
        wall_seconds: From start to the written model: evaluations, checkpoints and scoring are in it.
        total_steps: Optimisation steps.
        examples_per_second: Median over the steps; evaluations and checkpoints are left out.
        resumed: Whether it was interrupted in between.
    """

    wall_seconds: float
    total_steps: int
    examples_per_second: float | None
    resumed: bool


class Machine(_Strict):
    """Where the run was made; no name of a host or a person."""

    device: str
    cpu: str
    threads: int
    versions: Mapping[str, str]


class Result(_Strict):
    """One finished run.

    Attributes:
        fraction: Training texts in percent.
        method: Name in the plan, or ``teacher``.
        overrides: What the plan changed in the data set's recipe.
        recipe: The sections that decide the result, every default spelled out.
        recipe_hash: Of ``recipe``.
        data_fingerprint: Of the data that this run was trained on, its sample and all.
        teacher_hash: Of the teacher's files: equal means the same teacher.
        commit: Of the code; ``dirty`` when it had been changed since.
    """

    schema_version: Literal[1] = 1
    dataset: str
    fraction: float
    method: str
    seed: int
    overrides: Mapping[str, Any]
    recipe: Mapping[str, Any]
    recipe_hash: str
    data_fingerprint: str
    test_fingerprint: str
    teacher_hash: str
    scores: Scores
    cost: Cost
    machine: Machine
    commit: str | None
    dirty: bool


def result_path(results: Path, cell: Path, method: str, seed: int) -> Path:
    """Return where a run's document stands."""
    return results / cell / method / f"seed-{seed}.json"


def write_document(path: Path, document: BaseModel) -> None:
    """Write a document, whole or not at all."""
    write_json(path, document.model_dump(mode="json"))


def read_facts(path: Path) -> DatasetFacts:
    """Read a data set's facts.

    Raises:
        ArtifactError: The file is missing, damaged, or of another schema.
    """
    facts = _read(path, DatasetFacts)
    _check_bits(path, "leaking", facts.leaking, facts.test_size)
    for name, bits in facts.test_domains.items():
        _check_bits(path, f"test_domains.{name}", bits, facts.test_size)
    return facts


def read_result(path: Path) -> Result:
    """Read one run.

    Raises:
        ArtifactError: The file is missing, damaged, of another schema, or stands in another run's place.
    """
    result = _read(path, Result)
    place = (path.parents[2].name, path.parents[1].name, path.parents[0].name, path.stem)
    own = (result.dataset, f"{result.fraction:g}", result.method, f"seed-{result.seed}")
    if place != own:
        raise ArtifactError(f"`{path}` is the result of {' / '.join(own)}", hint="move it there, or delete it")
    return result


def read_results(results: Path, facts: DatasetFacts) -> Iterator[Result]:
    """Yield all runs of a data set, each scored on the test texts that ``facts`` describe.

    Raises:
        ArtifactError: A file is damaged, or does not fit.
    """
    for path in sorted((results / facts.dataset).glob("*/*/*.json")):
        result = read_result(path)
        if result.test_fingerprint != facts.test_fingerprint:
            raise ArtifactError(
                f"`{path}` was scored on other test texts than `{facts.dataset}/{DATASET}` describes",
                hint="delete it and run it again",
            )
        _check_bits(path, "scores.correct", result.scores.correct, facts.test_size)
        yield result


def _read(path: Path, kind: type[Document]) -> Document:
    try:
        return kind.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "document"
        raise ArtifactError(
            f"`{path}`, `{place}`: {first['msg']}", hint="it was changed or is of another schema; make it again"
        ) from error


def _check_bits(path: Path, key: str, digits: str, size: int) -> None:
    try:
        unpack(digits, size)
    except ValueError as error:
        raise ArtifactError(f"`{path}`, `{key}`: {error}", hint="it was changed or damaged; make it again") from error

"""What is measured: a bundle or a model folder, recognised and checked before anything is started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from hrkd.artifact import folder_hash, hash_of, read_json, read_stage, sha256_file
from hrkd.bundle import MANIFEST, open_bundle
from hrkd.errors import BenchError
from hrkd.model_folder import CLASSIFIER, MEMBERS, WEIGHTS, is_per_domain
from hrkd_bench.engines import require_engine

Role = Literal["teacher", "student"]


@dataclass(frozen=True, slots=True)
class Subject:
    """One row of the comparison.

    Attributes:
        name: Unique within a measurement.
        role: Whether it taught or learned.
        engine: Key of :data:`hrkd_bench.engines.ENGINES`.
        precision: ``fp32`` or ``int8``.
        path: Its folder.
        model_sha256: SHA-256 of its weights.
        domain_names: Name of each domain id.
        label_names: Name of each label id.
        checkpoint: What identifies the model folder that it is or was made from; None when unknown.
    """

    name: str
    role: Role
    engine: str
    precision: str
    path: Path
    model_sha256: str
    domain_names: tuple[str, ...]
    label_names: tuple[str, ...]
    checkpoint: str | None = None


def subject_of(path: Path, role: Role = "student") -> Subject:
    """Recognise a bundle (`manifest.json`) or a model folder (`classifier.json`).

    Args:
        path: The folder.
        role: Role of a model folder whose stage record names none; a bundle says its own.

    Raises:
        BenchError: The folder is neither.
        ArtifactError: The bundle is damaged.
        MissingExtraError: What its engine needs is not installed.
    """
    if (path / MANIFEST).is_file():
        return _bundle(path)
    if (path / CLASSIFIER).is_file():
        return _checkpoint(path, role)
    what = "has neither manifest.json nor classifier.json" if path.is_dir() else "is not a folder"
    raise BenchError(f"`{path}` {what}", hint="give a bundle of `hrkd export`, or a model folder of a run")


def check_comparable(subjects: Sequence[Subject]) -> None:
    """Refuse subjects that do not answer the same question.

    Raises:
        BenchError: Labels or domains differ from the first subject's in name or order.
    """
    first = subjects[0]
    for other in subjects[1:]:
        for what, own, wanted in (
            ("labels", other.label_names, first.label_names),
            ("domains", other.domain_names, first.domain_names),
        ):
            if own != wanted:
                raise BenchError(
                    f"`{other.path}` has the {what} {', '.join(own)}, `{first.path}` has {', '.join(wanted)}",
                    hint="compare models of the same task",
                )


def with_unique_names(subjects: Sequence[Subject]) -> list[Subject]:
    """Tell namesakes apart by engine and precision, then by position, so that every row can be spoken about."""
    full = [f"{subject.name} {subject.engine} {subject.precision}" for subject in subjects]
    names = _replace_duplicates([subject.name for subject in subjects], full)
    names = _replace_duplicates(names, [f"{name} #{position}" for position, name in enumerate(names, start=1)])
    return [replace(subject, name=name) for subject, name in zip(subjects, names, strict=True)]


def _replace_duplicates(names: list[str], substitutes: list[str]) -> list[str]:
    return [substitute if names.count(name) > 1 else name for name, substitute in zip(names, substitutes, strict=True)]


def _bundle(path: Path) -> Subject:
    manifest = open_bundle(path)
    require_engine(manifest.engine)
    return Subject(
        name=manifest.name,
        role=manifest.role,
        engine=manifest.engine,
        precision=manifest.precision,
        path=path,
        model_sha256=manifest.model_sha256,
        domain_names=manifest.domain_names,
        label_names=manifest.label_names,
        checkpoint=manifest.parents.get("checkpoint"),
    )


def _checkpoint(path: Path, role: Role) -> Subject:
    require_engine("pytorch")
    record = read_stage(path)
    if record is not None and record.stage in ("teacher", "student"):
        role = "teacher" if record.stage == "teacher" else "student"
    value = read_json(path / CLASSIFIER)
    try:
        domain_names, label_names = tuple(value["domain_names"]), tuple(value["label_names"])
    except (KeyError, TypeError) as error:
        raise BenchError(f"`{path / CLASSIFIER}` names no domains and labels") from error
    return Subject(
        name=path.resolve().name,
        role=role,
        engine="pytorch",
        precision="fp32",
        path=path,
        model_sha256=_weights_sha256(path),
        domain_names=domain_names,
        label_names=label_names,
        checkpoint=folder_hash(path),
    )


def _weights_sha256(path: Path) -> str:
    """Return the SHA-256 of a model folder's weights; of all members' hashes where there is one model per domain."""
    if not is_per_domain(path):
        return sha256_file(_existing(path / WEIGHTS))
    members = sorted(folder for folder in (path / MEMBERS).iterdir() if folder.is_dir())
    return hash_of({folder.name: sha256_file(_existing(folder / WEIGHTS)) for folder in members})


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise BenchError(f"`{path}` is missing", hint="the model folder is incomplete; make it again")
    return path

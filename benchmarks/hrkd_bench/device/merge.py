"""What a device measured becomes the document of `hrkd bench`, and rows of a document that was measured here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hrkd.artifact import sha256_file
from hrkd.bundle import MODEL
from hrkd.errors import BenchError
from hrkd.recipe import BenchConfig
from hrkd.shape import ShapeError
from hrkd_bench.bench import document_of, recognise
from hrkd_bench.claims.accuracy import Truth
from hrkd_bench.device.plan import BUNDLES
from hrkd_bench.device.result import DeviceResult
from hrkd_bench.device.wire import session_from_json
from hrkd_bench.document.schema import BenchDocument, Comparison, DeviceProtocol, Result, read_document
from hrkd_bench.examples import EvaluationTexts, Ids, choose, read_examples
from hrkd_bench.machine.environment import Environment
from hrkd_bench.measurement.measure import SEED
from hrkd_bench.measurement.memory_limit import add_memory_limits
from hrkd_bench.measurement.roofline import add_roofline
from hrkd_bench.measurement.samples import Session
from hrkd_bench.subjects import Subject


class Measured:
    """A device's result beside the bundles that it was made from.

    Args:
        result: What came back.
        bundles: Folders of the bundles, in the order in which they were packed.
        baselines: Likewise.

    Raises:
        BenchError: The device ran something else than these bundles.
        ArtifactError: A bundle here is damaged.
    """

    def __init__(self, result: DeviceResult, bundles: Sequence[Path], baselines: Sequence[Path] = ()) -> None:
        self.result = result
        self.subjects = recognise(bundles, baselines)
        self.num_baselines = len(baselines)
        check_hashes(result, self.subjects, self.num_baselines)
        try:
            self.config = BenchConfig.model_validate(result.plan.settings)
            self.environment = Environment.model_validate(result.environment)
        except ValidationError as error:
            raise BenchError(
                f"the result of the device is damaged: {error.errors()[0]['msg']}", hint="measure again"
            ) from error
        first = self.subjects[self.num_baselines]
        self.texts: EvaluationTexts = read_examples(first.path, first.label_names, first.domain_names)
        self.positions: Ids = choose(self.texts, self.config.max_texts, SEED)
        self.truth = Truth.of(self.texts, self.positions, first.label_names, first.domain_names)

    def document(self, device: str | None = None) -> dict[str, Any]:
        """Return the document, see :class:`hrkd_bench.document.schema.BenchDocument`.

        Args:
            device: What the machine is called; its processor's name when left out.

        Raises:
            BenchError: It was an emulator, or the session is damaged.
        """
        if self.result.emulation is not None:
            raise BenchError(
                f"the device is emulated ({self.result.emulation}): its times say nothing",
                hint="measure on real hardware; the answers of an emulator can be compared",
            )
        document = document_of(
            self.session(), self.truth, self.texts, self.environment, self.config, self.num_baselines
        )
        for result in document["results"]:
            result["device"] = device or self.environment.cpu
        if self.result.rates is not None:
            document = add_roofline(document, [subject.path for subject in self.subjects], self.result.rates)
        if self.result.memory_limits:
            document = add_memory_limits(document, self.result.memory_limits)
        return document

    def session(self) -> Session:
        """Return the raw session of a device that is none of an emulator.

        Raises:
            BenchError: It is damaged.
        """
        try:
            return session_from_json(self.result.session, self.subjects, len(self.positions))
        except ShapeError as error:
            raise BenchError(f"the result of the device is damaged: {error}", hint="measure again") from error


def check_hashes(result: DeviceResult, subjects: Sequence[Subject], num_baselines: int) -> None:
    """Refuse a result of anything but these bundles.

    Raises:
        BenchError: Other bundles were packed, or other bytes ran than were packed.
    """
    plan = result.plan
    if len(plan.names) != len(subjects) or plan.num_baselines != num_baselines:
        raise BenchError(
            f"the device measured {len(plan.names)} bundles, {plan.num_baselines} of them baselines "
            f"({', '.join(plan.names)}); given are {len(subjects)} and {num_baselines}",
            hint="give the same bundles and baselines, in the same order",
        )
    changed = sorted(name for name in {*plan.files, *result.files} if plan.files.get(name) != result.files.get(name))
    if changed:
        raise BenchError(f"`{changed[0]}` was changed on the device before it ran", hint="pack and measure again")
    for number, subject in enumerate(subjects):
        prefix = f"{BUNDLES}/{number}/"
        packed = {name.removeprefix(prefix): value for name, value in plan.files.items() if name.startswith(prefix)}
        if not packed:
            raise BenchError(f"the device measured no bundle number {number + 1}", hint="pack and measure again")
        for name, expected in sorted(packed.items(), key=lambda item: item[0] != MODEL):
            path = subject.path / name
            if not path.is_file() or sha256_file(path) != expected:
                raise BenchError(
                    f"the device did not measure `{subject.path}`: its {name} is another one",
                    hint="give the bundle that was packed",
                )


def with_device(document: Mapping[str, Any], other: Mapping[str, Any], device: str) -> dict[str, Any]:
    """Return a document with the results of another one as rows of their own.

    Args:
        document: Measured on this machine.
        other: Of a device: :meth:`Measured.document`.
        device: What it is called; added to the names.

    Raises:
        BenchError: The two were measured on other texts, or the device is in the document already.
    """
    own, added = read_document(document), read_document(other)
    if own.texts.sha256 != added.texts.sha256 or own.texts.count != added.texts.count:
        raise BenchError(
            f"`{device}` was measured on {added.texts.count} other texts than this machine's {own.texts.count}",
            hint="measure both with the same bundle and `--max-texts`",
        )
    if device in own.environments or any(result.device == device for result in own.results):
        raise BenchError(f"the document holds results of `{device}` already", hint="give this device another name")

    results, comparisons = _rows(added, device)
    protocol = DeviceProtocol(config=added.config, profile=added.profile, roofline=added.roofline)
    merged = own.model_copy(
        update={
            "results": [*own.results, *results],
            "comparisons": [*own.comparisons, *comparisons],
            "environments": {**own.environments, device: added.environment},
            "protocols": {**own.protocols, device: protocol},
        }
    )
    return merged.model_dump(mode="json")


def _rows(added: BenchDocument, device: str) -> tuple[list[Result], list[Comparison]]:
    """Return a device's results and comparisons under names that say where they were measured."""

    def named(name: str) -> str:
        return f"{name} @ {device}"

    results = [
        result.model_copy(
            update={
                "name": named(result.name),
                "device": device,
                "fp32_reference": result.fp32_reference and named(result.fp32_reference),
            }
        )
        for result in added.results
    ]
    comparisons = [
        comparison.model_copy(update={"subject": named(comparison.subject), "baseline": named(comparison.baseline)})
        for comparison in added.comparisons
    ]
    return results, comparisons

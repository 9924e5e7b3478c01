"""Measure bundles and model folders against each other on this machine: the document behind `bench.json`.

::

    from hrkd.recipe import BenchConfig
    from hrkd_bench.bench import bench

    document = bench([Path("runs/demo/bundles/int8")], baselines=[Path("runs/demo/teacher")], config=BenchConfig())
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hrkd.artifact import sha256_file
from hrkd.errors import BenchError
from hrkd.recipe import BenchConfig
from hrkd_bench.claims.accuracy import Truth
from hrkd_bench.claims.chain import chain_pairs
from hrkd_bench.claims.results import compare, fp32_of, result_of
from hrkd_bench.document.schema import BenchDocument, Comparison, MeasuredEnvironment, Result, Texts
from hrkd_bench.examples import EvaluationTexts, choose, read_examples
from hrkd_bench.limits.confinement import Limits
from hrkd_bench.machine import disturbance
from hrkd_bench.machine.environment import Environment, describe_environment
from hrkd_bench.measurement.measure import BATCH_SIZE, SEED, Progress, measure, no_progress
from hrkd_bench.measurement.samples import Measurement, Session
from hrkd_bench.subjects import Subject, check_comparable, subject_of, with_unique_names


def bench(
    subjects: Sequence[Path],
    *,
    baselines: Sequence[Path] = (),
    config: BenchConfig,
    progress: Progress | None = None,
    quota_is_tested: bool = False,
    limits: Limits | None = None,
) -> dict[str, Any]:
    """Measure latency, memory, size, accuracy and agreement of all subjects on the same texts.

    Args:
        subjects: Bundles (run with onnxruntime) or model folders (run with PyTorch). The evaluation texts are the
            first one's.
        baselines: What the subjects are compared with; the first baseline is the reference of the tables.
        config: Threads, rounds, warm-up and number of texts.
        progress: Called with phase, done and total.
        quota_is_tested: Whether the quota of ``limits`` is what the run is about; otherwise being stopped by it makes
            the run invalid, as being stopped by a quota around all of us always does.
        limits: What each measured process may use; everything when left out.

    Returns:
        The document, see :class:`hrkd_bench.document.schema.BenchDocument`; baselines come first in ``results``.

    Raises:
        BenchError: A subject is none, they answer different questions, or a child process failed.
        ArtifactError: A bundle is damaged.
        MissingExtraError: What an engine needs is not installed.
    """
    recognised = recognise(subjects, baselines)
    return bench_subjects(
        recognised[len(baselines) :],
        baselines=recognised[: len(baselines)],
        config=config,
        progress=progress,
        quota_is_tested=quota_is_tested,
        limits=limits,
    )


def bench_subjects(
    subjects: Sequence[Subject],
    *,
    baselines: Sequence[Subject] = (),
    config: BenchConfig,
    progress: Progress | None = None,
    quota_is_tested: bool = False,
    limits: Limits | None = None,
) -> dict[str, Any]:
    """Measure what :func:`recognise` returned; see :func:`bench`."""
    first = subjects[0]
    texts = read_examples(first.path, first.label_names, first.domain_names)
    positions = choose(texts, config.max_texts, SEED)
    environment = describe_environment()
    measured = [*baselines, *subjects]
    session = measure(
        measured,
        texts,
        positions,
        config,
        progress or no_progress,
        num_baselines=len(baselines),
        limits=limits,
    )
    truth = Truth.of(texts, positions, first.label_names, first.domain_names)
    return document_of(session, truth, texts, environment, config, len(baselines), quota_is_tested=quota_is_tested)


def recognise(subjects: Sequence[Path], baselines: Sequence[Path]) -> list[Subject]:
    """Recognise everything, baselines first, and refuse what cannot be compared.

    Raises:
        BenchError: Something is given twice, is no model, or answers another question than the first subject.
        ArtifactError: A bundle is damaged.
        MissingExtraError: What an engine needs is not installed.
    """
    if not subjects:
        raise BenchError("there is nothing to measure", hint="name at least one bundle")
    paths = [*baselines, *subjects]
    resolved = [path.resolve() for path in paths]
    twice = next((path for path, where in zip(paths, resolved, strict=True) if resolved.count(where) > 1), None)
    if twice is not None:
        raise BenchError(f"`{twice}` is given twice", hint="name every bundle and baseline once")
    found = [subject_of(path, "teacher") for path in baselines] + [subject_of(path) for path in subjects]
    check_comparable([found[len(baselines)], *found])
    return with_unique_names(found)


def document_of(
    session: Session,
    truth: Truth,
    texts: EvaluationTexts,
    environment: Environment,
    config: BenchConfig,
    num_baselines: int,
    *,
    quota_is_tested: bool = False,
) -> dict[str, Any]:
    """Judge a session's measurements.

    Args:
        session: Taken by :func:`hrkd_bench.measurement.measure.measure`, on this machine or another one.
        truth: What its answers are checked against.
        texts: Where they come from.
        environment: The machine on which it was taken.
        config: How it was taken.
        num_baselines: How many of the measurements are baselines; they come first.
        quota_is_tested: Whether the quota of the measured processes is what the run is about.
    """
    before, after, cpus = session.before, session.after, environment.available_cpus
    disturbed = disturbance.compare(
        before, after, cpus, worker_throttled=session.throttled_periods, quota_is_tested=quota_is_tested
    )
    measurements = session.measurements
    reasons = _reasons(disturbed, environment, config)
    pairs = [(before, after) for after in range(num_baselines, len(measurements)) for before in range(num_baselines)]
    steps = chain_pairs([measurement.subject for measurement in measurements])
    return BenchDocument(
        command=[Path(sys.argv[0]).name, *sys.argv[1:]],
        config=config.model_dump(mode="json") | {"batch_size": BATCH_SIZE, "seed": SEED},
        environment=_measured_environment(environment, session, disturbed),
        texts=_describe_texts(texts, truth, measurements[num_baselines]),
        results=_results(measurements, truth, config, num_baselines, reasons),
        comparisons=_comparisons(measurements, pairs, truth, config),
        chain=tuple(_comparisons(measurements, steps, truth, config)),
    ).model_dump(mode="json")


def _reasons(disturbed: disturbance.Disturbance, environment: Environment, config: BenchConfig) -> list[str]:
    """Return why no result of the measurement must be relied on."""
    cpus = environment.available_cpus
    if config.threads <= cpus:
        return list(disturbed.invalid_reasons)
    too_many = f"{config.threads} threads were asked for, but this process may use {cpus} CPU(s): ask for {cpus}"
    return [*disturbed.invalid_reasons, too_many]


def _results(
    measurements: Sequence[Measurement],
    truth: Truth,
    config: BenchConfig,
    num_baselines: int,
    invalid_reasons: Sequence[str],
) -> list[Result]:
    return [
        result_of(
            measurement,
            truth,
            config,
            fp32=fp32_of(measurement, measurements),
            is_baseline=number < num_baselines,
            invalid_reasons=invalid_reasons,
        )
        for number, measurement in enumerate(measurements)
    ]


def _comparisons(
    measurements: Sequence[Measurement], pairs: Sequence[tuple[int, int]], truth: Truth, config: BenchConfig
) -> list[Comparison]:
    return [
        compare(measurements[after], measurements[before], truth, config.smallest_difference) for before, after in pairs
    ]


def _measured_environment(
    environment: Environment, session: Session, disturbed: disturbance.Disturbance
) -> MeasuredEnvironment:
    return MeasuredEnvironment(
        **environment.model_dump(),
        steal_fraction=disturbed.steal_fraction,
        throttled_periods=disturbed.throttled_periods,
        foreign_share=disturbed.foreign_share,
        frequency_before_mhz=session.before.frequency_mhz,
        frequency_after_mhz=session.after.frequency_mhz,
        temperature_before_c=session.before.temperature_c,
        temperature_after_c=session.after.temperature_c,
        board_throttling=session.after.throttling,
        notes=list(disturbed.notes),
    )


def _describe_texts(texts: EvaluationTexts, truth: Truth, first: Measurement) -> Texts:
    tokens = first.samples.tokens
    counts = {name: int(np.sum(truth.domains == number)) for number, name in enumerate(truth.domain_names)}
    return Texts(
        count=len(truth.labels),
        domains={name: count for name, count in counts.items() if count},
        tokens={
            "p50": float(np.quantile(tokens, 0.5)),
            "p95": float(np.quantile(tokens, 0.95)),
            "max": float(tokens.max()),
        },
        sha256=sha256_file(texts.path),
    )

"""Latency of our bundles beside plain Optimum, transformers and OpenVINO: same student, one thread, one run.

    python -m speed.inference runs/demo

All start from the run's student, read up to 128 tokens and quantise in their own way. Every rival has a process of its
own; they take turns over the same texts of exactly 32 and 128 tokens, and end to end counts: text in, label out. Ratios
of medians come with bootstrap intervals over rounds.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from tokenizers import Tokenizer

from hrkd.artifact import STAGE_RECORD, read_json, write_json
from hrkd.bundle import TOKENIZER, open_bundle
from hrkd.data.load import load_dataset
from hrkd.model_folder import CLASSIFIER
from hrkd.recipe import Quantization, Recipe
from hrkd.recipe_file import load_recipe
from hrkd_bench.machine.environment import describe_environment
from hrkd_export import export_bundle
from hrkd_export.target import resolve_target
from speed import rivals
from speed.tables import RESULTS, write_tables

LENGTHS = (32, 128)
TEXTS, ROUNDS, WARMUP = 20, 15, 40
SCHEMA_VERSION = 1


class Subject(NamedTuple):
    """One way of running the student: its name in the table, which rival runs it, and from where."""

    name: str
    rival: str
    folder: Path


def main(argv: Sequence[str] | None = None) -> int:
    """Prepare the rivals, measure everything in turns, write the document and the tables."""
    arguments = _parser().parse_args(argv)
    recipe = load_recipe(arguments.run / "recipe.yaml")
    dataset = load_dataset(recipe.data)
    domain = dataset.domain_names[0]
    train = dataset.train.of_domain(0).texts
    student = arguments.run / "student"
    texts = {length: _texts_of(length, train, student / TOKENIZER) for length in LENGTHS}
    with TemporaryDirectory(prefix="hrkd-speed-") as name:
        work = Path(name)
        subjects = [*_rivals(student, domain, train, work), *_bundles(student, recipe, work)]
        samples = _measure(subjects, domain, texts)
        described = [_described(subject, samples[subject.name]) for subject in subjects]
    document = {
        "schema_version": SCHEMA_VERSION,
        "command": ["python", "-m", "speed.inference", *sys.argv[1:]],
        "environment": describe_environment().model_dump(mode="json"),
        "domain": domain,
        "texts": TEXTS,
        "rounds": ROUNDS,
        "subjects": described,
    }
    write_json(arguments.output, document)
    write_tables(arguments.output)
    return 0


def _bundles(student: Path, recipe: Recipe, work: Path) -> Iterator[Subject]:
    """Export the student for each engine; as long as the others read, whatever it was trained with."""
    longer = work / "student"
    shutil.copytree(student, longer)
    (longer / STAGE_RECORD).unlink(missing_ok=True)
    names = read_json(longer / CLASSIFIER)
    write_json(longer / CLASSIFIER, names | {"max_length": max(LENGTHS)})
    for way in (None, Quantization.INT8, Quantization.INT8_OPENVINO):
        bundle = work / f"bundle-{way or 'fp32'}"
        export_bundle(longer, bundle, recipe.export.model_copy(update={"quantize": way}), recipe=recipe)
        yield Subject(f"hrkd {way or 'fp32'}", "hrkd", bundle)


def _rivals(student: Path, domain: str, train: Sequence[str], work: Path) -> Iterator[Subject]:
    checkpoint, optimum, openvino = (work / name for name in (rivals.CHECKPOINT, rivals.OPTIMUM, rivals.OPENVINO))
    for folder in (checkpoint, optimum, openvino):
        folder.mkdir()
    rivals.write_checkpoint(student, domain, max(LENGTHS), checkpoint)
    yield Subject("transformers, PyTorch fp32", "transformers", checkpoint)
    rivals.prepare_optimum(checkpoint, optimum, resolve_target("auto").name)
    yield Subject("Optimum dynamic int8", "optimum", optimum)
    rivals.prepare_openvino(checkpoint, openvino, train)
    yield Subject("OpenVINO static int8", "openvino", openvino)


def _texts_of(length: int, train: Sequence[str], tokenizer_file: Path) -> list[str]:
    """Return texts of exactly ``length`` tokens, specials included: training texts joined and cut between words."""
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.no_truncation()
    order = np.random.default_rng(0).permutation(len(train))
    found: list[str] = []
    words: list[str] = []
    for index in order:
        words += train[index].split()
        while len(tokenizer.encode(" ".join(words)).ids) > length:
            words.pop()
        if len(tokenizer.encode(" ".join(words)).ids) == length:
            found.append(" ".join(words))
            words = []
        if len(found) == TEXTS:
            break
    return found


def _measure(
    subjects: Sequence[Subject], domain: str, texts: dict[int, list[str]]
) -> dict[str, dict[int, list[list[float]]]]:
    """Return milliseconds by subject, length, round and text."""
    samples: dict[str, dict[int, list[list[float]]]] = {
        subject.name: {length: [] for length in texts} for subject in subjects
    }
    with ExitStack() as stack:
        channels = [stack.enter_context(_process(subject, domain)) for subject in subjects]
        for length, chosen in texts.items():
            for channel in channels:
                _ask(channel, (chosen * WARMUP)[:WARMUP])
            for number in range(ROUNDS):
                for turn in range(len(subjects)):
                    which = (turn + number) % len(subjects)
                    samples[subjects[which].name][length].append(_ask(channels[which], chosen))
    return samples


@contextmanager
def _process(subject: Subject, domain: str) -> Iterator[Connection]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, subject.rival, str(subject.folder), domain), daemon=True)
    process.start()
    try:
        yield here
    finally:
        here.send(None)
        process.join()


def _serve(channel: Connection, rival: str, folder: str, domain: str) -> None:
    """Answer lists of texts with lists of milliseconds until None comes."""
    answer = rivals.RIVALS[rival](Path(folder), domain)
    while (texts := channel.recv()) is not None:
        answer(texts[0])  # another process has used the caches since
        times = []
        for text in texts:
            start = time.perf_counter_ns()
            answer(text)
            times.append((time.perf_counter_ns() - start) / 1e6)
        channel.send(times)


def _ask(channel: Connection, texts: list[str]) -> list[float]:
    channel.send(texts)
    times: list[float] = channel.recv()
    return times


def _described(subject: Subject, samples: dict[int, list[list[float]]]) -> dict[str, Any]:
    value: dict[str, Any] = {"name": subject.name, "rival": subject.rival}
    if subject.rival == "hrkd":
        manifest = open_bundle(subject.folder)
        value |= {
            "quantization": manifest.quantization,
            "engine": manifest.engine,
            "size_bytes": manifest.size_bytes,
            "model_sha256": manifest.model_sha256,
        }
    return value | {"milliseconds": {str(length): rounds for length, rounds in samples.items()}}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m speed.inference", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument("run", type=Path, help="run folder, e.g. runs/demo")
    parser.add_argument("--output", type=Path, default=RESULTS / "inference.json")
    return parser


if __name__ == "__main__":
    sys.exit(main())

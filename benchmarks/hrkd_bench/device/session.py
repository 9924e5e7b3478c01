"""The measurement on a device: the packed plan in, one JSON out. Started by a packed runner, never by hand.

The protocol is that of a measurement on this machine, :func:`hrkd_bench.measurement.measure.measure`. An emulator is
asked for its answers only.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn, cast

from hrkd.artifact import read_json, sha256_file, write_text
from hrkd.errors import HrkdError
from hrkd.shape import from_json, to_json
from hrkd_bench.device.channel import Channel, watch_connection
from hrkd_bench.device.emulation import find_emulation
from hrkd_bench.device.plan import BUNDLES, PLAN, Plan
from hrkd_bench.device.result import Answers, DeviceResult
from hrkd_bench.device.wire import session_to_json
from hrkd_bench.examples import EvaluationTexts, Ids, choose, read_examples
from hrkd_bench.machine.facts import read_machine
from hrkd_bench.measurement.measure import SEED, Progress, measure
from hrkd_bench.measurement.memory_limit import smallest_limits
from hrkd_bench.measurement.process import WorkerProcess
from hrkd_bench.measurement.roofline import measure_rates
from hrkd_bench.measurement.rounds import run
from hrkd_bench.subjects import Subject, subject_of

if TYPE_CHECKING:
    from hrkd.recipe import BenchConfig

_TOLD = "the person who started it"
_TEXTS_PER_REQUEST = 20
_ENDINGS = (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))


def measure_plan(root: Path, progress: Progress, *, emulated: bool = False) -> DeviceResult:
    """Measure the bundles of an unpacked runner.

    Args:
        root: Where it was unpacked.
        progress: Told about it.
        emulated: Whether somebody says that this is an emulator; one that can be recognised is anyway.

    Raises:
        BenchError: A measurement failed.
        ArtifactError: A bundle is damaged.
    """
    plan = from_json(Plan, read_json(root / PLAN))
    files = {name: sha256_file(root / name) for name in plan.files}
    subjects = [replace(subject_of(root / BUNDLES / str(number)), name=name) for number, name in enumerate(plan.names)]
    first = subjects[plan.num_baselines]
    texts = read_examples(first.path, first.label_names, first.domain_names)
    # The settings were checked where the plan was made; pydantic, which holds their type, is not installed here.
    config = cast("BenchConfig", SimpleNamespace(**plan.settings))
    positions = choose(texts, config.max_texts, SEED)
    emulation = find_emulation() or (f"said {_TOLD}" if emulated else None)
    environment = read_machine() | ({"cpu": f"emulated: {emulation}", "cpu_features": []} if emulation else {})
    answers = session = rates = limits = None
    if emulation is None:
        measured = measure(subjects, texts, positions, config, progress, num_baselines=plan.num_baselines)
        session, rates = session_to_json(measured), measure_rates()
        if plan.memory_limit:
            progress("searching for the smallest memory limit", 0, 1)
            limits = smallest_limits([subject.path for subject in subjects[plan.num_baselines :]], config.threads)
    else:
        answers = [answer(subject, texts, positions, config.threads, progress) for subject in subjects]
    return DeviceResult(
        plan=plan,
        files=files,
        environment=environment,
        emulation=emulation,
        answers=answers,
        session=session,
        rates=rates,
        memory_limits=limits,
    )


def answer(subject: Subject, texts: EvaluationTexts, positions: Ids, threads: int, progress: Progress) -> Answers:
    """Return one bundle's answers to the texts at ``positions``, and no times."""
    logits: list[list[float]] = []
    tokens: list[int] = []
    with WorkerProcess(subject, threads) as worker:
        worker.load(texts.examples[0])
        worker.ask("open", examples=str(texts.path.resolve()))
        for start in range(0, len(positions), _TEXTS_PER_REQUEST):
            progress(f"answering ({subject.name})", start, len(positions))
            answered = run(worker, positions[start : start + _TEXTS_PER_REQUEST])
            logits += answered["logits"]
            tokens += answered["tokens"]
    return Answers(logits=logits, tokens=tokens)


def main() -> int:
    """Measure, hand the result over, and leave nothing behind."""
    parser = argparse.ArgumentParser(prog="hrkd-runner")
    parser.add_argument("root", type=Path)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--emulated", action="store_true")
    parser.add_argument("--remove", type=Path, required=True)
    given = parser.parse_args()
    code = 130
    try:
        try:
            _on_ending(_stop)
            if hasattr(signal, "pthread_sigmask"):  # what came during the imports was held back, see start.py
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDINGS)
            with Channel(given.stream) as channel:
                code = _measure(given, channel)
        finally:
            _on_ending(signal.SIG_IGN)
    except KeyboardInterrupt:
        pass
    finally:  # out of any signal's reach: the host hangs up as soon as it has the result
        shutil.rmtree(given.remove, ignore_errors=True)
        given.remove.with_name(given.remove.name + ".lock").unlink(missing_ok=True)
    return code


def _measure(given: argparse.Namespace, channel: Channel) -> int:
    try:
        if given.stream:
            watch_connection()
        result = measure_plan(given.root, channel.progress, emulated=given.emulated)
        _hand_over(to_json(result), given.output, channel)
    except HrkdError as error:
        channel.error(error.message, error.hint)
        return 2
    except OSError as error:
        channel.error(f"the device says: {error}", "a full disk, or a file that may not be read or written")
        return 2
    return 0


def _hand_over(result: Any, output: Path | None, channel: Channel) -> None:
    text = json.dumps(result, allow_nan=False, sort_keys=True) + "\n"
    if output is None:
        channel.result(text.encode())
        return
    write_text(output, text)
    channel.say(f"{output}: bring it back, and `hrkd bench merge {output.name} BUNDLE...` reads it")


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    """Turn a signal into an exception, once, so that processes are ended and files removed."""
    _on_ending(signal.SIG_IGN)
    raise KeyboardInterrupt


def _on_ending(handler: Callable[[int, FrameType | None], NoReturn] | signal.Handlers) -> None:
    for number in _ENDINGS:
        signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())

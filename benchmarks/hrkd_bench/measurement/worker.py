"""The child process that runs one model: JSON requests on stdin, JSON answers on stdout, one per line.

Every subject has a process of its own, so that memory and start-up are its own and no library disturbs another.
What libraries print goes to stderr; the answers have a channel that nothing else can write to. An error that a user
can act on is answered; any other one ends the process with its traceback on stderr.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from hrkd.errors import HrkdError
from hrkd_bench.engines import MeasuredClassifier, resolve
from hrkd_bench.measurement.length_texts import longest_input, texts_of_length
from hrkd_bench.measurement.memory_use import read_memory_use
from hrkd_bench.measurement.open_loop import WallClock
from hrkd_bench.measurement.open_loop import serve as serve_arrivals

Answer = dict[str, Any]


class Worker:
    """Answers requests about one model."""

    def __init__(self) -> None:
        self._classifier: MeasuredClassifier | None = None
        self._examples: list[dict[str, Any]] = []
        self._of_length: dict[int, list[dict[str, Any]]] = {}
        self._commands: dict[str, Callable[..., Answer]] = {
            "load": self.load,
            "open": self.open,
            "run": self.run,
            "cut": self.cut,
            "run_length": self.run_length,
            "open_loop": self.open_loop,
            "throughput": self.throughput,
            "processor_time": self.processor_time,
            "memory": self.memory,
        }

    def answer(self, request: dict[str, Any]) -> Answer:
        """Do what a request says."""
        values = dict(request)
        return self._commands[values.pop("command")](**values)

    def load(
        self, classifier: str, libraries: Sequence[str], path: str, threads: int, text: str, text_pair: str | None
    ) -> Answer:
        """Import, load and answer once: what a cold start consists of."""
        start = time.perf_counter()
        for library in libraries:
            importlib.import_module(library)
        engine = resolve(classifier)
        imported = time.perf_counter()
        self._classifier = engine.load(Path(path), threads=threads)
        loaded = time.perf_counter()
        self._classifier.run(self._classifier.tokenize(text, text_pair), 0)
        first = time.perf_counter()
        return {
            "import_s": imported - start,
            "load_s": loaded - imported,
            "first_s": first - loaded,
            "size_bytes": self._classifier.size_bytes,
            "domain_names": list(self._classifier.domain_names),
            "label_names": list(self._classifier.label_names),
        }

    def open(self, examples: str) -> Answer:
        """Read the evaluation texts. The parent has checked the file."""
        lines = Path(examples).read_text(encoding="utf-8").split("\n")
        self._examples = [{"text_pair": None} | json.loads(line) for line in lines if line]
        return {"texts": len(self._examples)}

    def run(self, indices: Sequence[int]) -> Answer:
        """Measure texts one at a time; times in nanoseconds, logits as the engine returned them."""
        return self._time([self._examples[index] for index in indices])

    def cut(self, lengths: Sequence[int], number: int) -> Answer:
        """Make up to ``number`` texts of each length out of the evaluation texts, as far as the model reads."""
        texts = [example["text"] for example in self._examples]
        pair = None if all(example["text_pair"] is None for example in self._examples) else ""
        longest = longest_input(texts, lambda text: len(self._loaded.tokenize(text, pair)), max(lengths))
        rest = {"text_pair": pair, "domain": self._loaded.domain_names[0]}
        for length in sorted({min(length, longest) for length in lengths}):
            found = texts_of_length(texts, length, number, lambda text: len(self._loaded.tokenize(text, pair)))
            if found:
                self._of_length[length] = [{"text": text, **rest} for text in found]
        return {"lengths": list(self._of_length)}

    def run_length(self, length: int) -> Answer:
        """Measure the texts of one length, like `run`."""
        return self._time(self._of_length[length])

    def open_loop(self, indices: Sequence[int], arrivals: Sequence[float], give_up_after: float) -> Answer:
        """Answer requests that come at their own times, in seconds from the start."""
        examples = [self._examples[index] for index in indices]
        with _no_collection():
            starts, ends = serve_arrivals(
                arrivals,
                lambda number: self._time_one(examples[number]),
                WallClock(),
                give_up_after=give_up_after,
            )
        return {"starts": starts, "ends": ends}

    def throughput(self, indices: Sequence[int], batch_size: int) -> Answer:
        """Time texts in batches of similar length, tokenisation included."""
        examples = [self._examples[index] for index in indices]
        start = time.perf_counter()
        encoded = [self._loaded.tokenize(example["text"], example["text_pair"]) for example in examples]
        order = sorted(range(len(encoded)), key=lambda position: len(encoded[position]))
        for first in range(0, len(order), batch_size):
            batch = order[first : first + batch_size]
            domain_ids = [self._domain_id(examples[position]) for position in batch]
            self._loaded.run_batch([encoded[position] for position in batch], domain_ids)
        return {"seconds": time.perf_counter() - start, "texts": len(examples)}

    def processor_time(self, indices: Sequence[int]) -> Answer:
        """Answer texts and return the processor time of all threads; the texts are not timed one by one."""
        wall, start = time.perf_counter(), time.process_time()
        for index in indices:
            self._time_one(self._examples[index])
        cpu_seconds = time.process_time() - start
        return {"cpu_s": cpu_seconds, "wall_s": time.perf_counter() - wall, "texts": len(indices)}

    def memory(self) -> Answer:
        """Return the most memory that the process ever held and what it holds now, None where it is not known."""
        return {"peak_rss_bytes": peak_rss_bytes(), **asdict(read_memory_use())}

    @property
    def _loaded(self) -> MeasuredClassifier:
        if self._classifier is None:
            raise RuntimeError("a request came before `load`")
        return self._classifier

    def _time(self, examples: Sequence[dict[str, Any]]) -> Answer:
        with _no_collection():
            rows = [self._time_one(example) for example in examples]
        names = ("tokenize_ns", "run_ns", "post_ns", "end_to_end_ns", "tokens", "logits")
        return dict(zip(names, map(list, zip(*rows)), strict=True)) if rows else {name: [] for name in names}

    def _domain_id(self, example: dict[str, Any]) -> int:
        return list(self._loaded.domain_names).index(example["domain"])

    def _time_one(self, example: dict[str, Any]) -> tuple[int, int, int, int, int, list[float]]:
        classifier, domain_id = self._loaded, self._domain_id(example)
        text, text_pair = example["text"], example["text_pair"]
        start = time.perf_counter_ns()
        encoded = classifier.tokenize(text, text_pair)
        tokenized = time.perf_counter_ns()
        logits = classifier.run(encoded, domain_id)
        answered = time.perf_counter_ns()
        probabilities = np.exp(logits - np.max(logits))
        probabilities /= probabilities.sum()
        int(np.argmax(probabilities))
        end = time.perf_counter_ns()
        times = (tokenized - start, answered - tokenized, end - answered, end - start)
        return *times, len(encoded), np.asarray(logits).tolist()


@contextmanager
def _no_collection() -> Iterator[None]:
    """Let the collector of cyclic garbage wait: its pauses depend on the measurement's own lists."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def peak_rss_bytes() -> int | None:
    """Return this process's peak resident memory.

    Linux's VmHWM starts anew with the program; ``ru_maxrss`` can carry over the parent's, so it is second choice.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        status = ""
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def serve(requests: TextIO, answers: TextIO) -> None:
    """Answer requests until ``quit`` or until the parent is gone."""
    worker = Worker()
    for line in requests:
        request = json.loads(line)
        if request["command"] == "quit":
            return
        try:
            answer = worker.answer(request)
        except HrkdError as error:
            answer = {"error": {"message": error.message, "hint": error.hint}}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def main() -> None:
    """Take the standard channels away from everything else in the process, then serve."""
    with os.fdopen(os.dup(0), encoding="utf-8") as requests, os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        sys.stdout = sys.stderr
        with Path(os.devnull).open(encoding="utf-8") as nothing:
            os.dup2(nothing.fileno(), 0)
        serve(requests, answers)


if __name__ == "__main__":
    main()

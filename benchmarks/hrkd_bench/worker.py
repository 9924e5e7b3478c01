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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from hrkd.errors import HrkdError
from hrkd_bench.engines import MeasuredClassifier, resolve

Answer = dict[str, Any]


class Worker:
    """Answers requests about one model."""

    def __init__(self) -> None:
        self._classifier: MeasuredClassifier | None = None
        self._examples: list[dict[str, Any]] = []
        self._commands: dict[str, Callable[..., Answer]] = {
            "load": self.load,
            "open": self.open,
            "run": self.run,
            "throughput": self.throughput,
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
        """Measure texts one at a time; times in nanoseconds, logits as the engine returned them.

        The collector of cyclic garbage waits until the chunk is over: its pauses depend on the measurement's own lists.
        """
        gc.collect()
        gc.disable()
        try:
            rows = [self._time_one(self._examples[index]) for index in indices]
        finally:
            gc.enable()
        names = ("tokenize_ns", "run_ns", "end_to_end_ns", "tokens", "logits")
        return dict(zip(names, map(list, zip(*rows)), strict=True)) if rows else {name: [] for name in names}

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

    def memory(self) -> Answer:
        """Return the most memory that the process ever held, None where the system does not say."""
        return {"peak_rss_bytes": peak_rss_bytes()}

    @property
    def _loaded(self) -> MeasuredClassifier:
        if self._classifier is None:
            raise RuntimeError("a request came before `load`")
        return self._classifier

    def _domain_id(self, example: dict[str, Any]) -> int:
        return list(self._loaded.domain_names).index(example["domain"])

    def _time_one(self, example: dict[str, Any]) -> tuple[int, int, int, int, list[float]]:
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
        return tokenized - start, answered - tokenized, end - start, len(encoded), np.asarray(logits).tolist()


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

"""Engines that go wrong in a worker process, one way each. Found there through PYTHONPATH."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, Self

import numpy as np

from hrkd.errors import ArtifactError

Logits = np.ndarray


class Talkative:
    """Works, but prints to the channel of the answers, as some libraries do."""

    domain_names = ("books", "films")
    label_names = ("neg", "pos")
    size_bytes = 1

    @classmethod
    def load(cls, path: Path, *, threads: int) -> Self:
        print("a library says hello")  # noqa: T201 - this is what it is for
        os.write(1, b"and so does its C part\n")
        os.write(2, f"threads {threads}, {os.environ['OMP_NUM_THREADS']}\n".encode())
        return cls()

    def tokenize(self, text: str, text_pair: str | None = None) -> list[int]:
        return [1] * len(text.split())

    def run(self, encoded: Any, domain_id: int) -> Logits:
        return np.asarray([0.0, 1.0])

    def run_batch(self, encodeds: Any, domain_ids: Any) -> Logits:
        return np.zeros((len(encodeds), 2))


class Crashing(Talkative):
    """Raises an error of its own while it runs."""

    def run(self, encoded: Any, domain_id: int) -> Logits:
        raise ZeroDivisionError("the fifth wheel came off")


class Killed(Talkative):
    """Is ended by the system, as when memory runs out."""

    def run(self, encoded: Any, domain_id: int) -> Logits:
        sys.stderr.write("about to allocate\n")
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


class Hanging(Talkative):
    """Never answers."""

    def run(self, encoded: Any, domain_id: int) -> Logits:
        time.sleep(60)
        return np.zeros(2)


class Refusing(Talkative):
    """Reports an error that the user can act on."""

    @classmethod
    def load(cls, path: Path, *, threads: int) -> Self:
        raise ArtifactError("the moon is in the wrong house", hint="wait a week")


class NotANumber(Talkative):
    """Answers with NaN."""

    def run(self, encoded: Any, domain_id: int) -> Logits:
        return np.asarray([np.nan, 1.0])


class OtherLabels(Talkative):
    """Loads with other labels than its folder names."""

    label_names = ("pos", "neg")

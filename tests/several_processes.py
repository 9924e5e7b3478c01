"""Runs a function in several processes that train as one, as a launcher would start them."""

from __future__ import annotations

import os
import queue
import socket
import traceback
from collections.abc import Callable
from typing import Any

import torch.multiprocessing

from hrkd.distributed import distributed

DEADLINE_SECONDS = 60.0


def run_in_processes(work: Callable[[], Any], number: int = 2) -> list[tuple[str, Any]]:
    """Fork ``number`` processes that join each other and call ``work``.

    A fork has everything imported already, so this takes tenths of a second.

    Returns:
        Of each process in order: the name of its exception or "", and its result or the traceback.
    """
    context = torch.multiprocessing.get_context("fork")
    answers = context.Queue()
    port = _free_port()
    processes = [context.Process(target=_run, args=(work, rank, number, port, answers)) for rank in range(number)]
    for process in processes:
        process.start()
    found: dict[int, tuple[str, Any]] = {}
    try:
        while len(found) < number:
            rank, *answer = answers.get(timeout=DEADLINE_SECONDS)
            found[rank] = (answer[0], answer[1])
    except queue.Empty:
        hanging = sorted(set(range(number)) - set(found))
        raise AssertionError(f"processes {hanging} did not end; the others: {found}") from None
    finally:
        for process in processes:
            process.join(1.0)
            process.kill()
    return [found[rank] for rank in range(number)]


def results_of(work: Callable[[], Any], number: int = 2) -> list[Any]:
    """Run as :func:`run_in_processes` does, and return the results; no process may fail."""
    outcomes = run_in_processes(work, number)
    for error, result in outcomes:
        assert not error, result
    return [result for _, result in outcomes]


def _run(work: Callable[[], Any], rank: int, number: int, port: int, answers: Any) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(number), "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    try:
        with distributed():
            result = work()
        answers.put((rank, "", result))
    except BaseException as error:  # noqa: BLE001  (handed to the test)
        answers.put((rank, type(error).__name__, traceback.format_exc()))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

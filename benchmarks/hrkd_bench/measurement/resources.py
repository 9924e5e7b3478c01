"""What an answer costs besides time: memory, processor seconds, energy. Never measured while something is timed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

from hrkd.errors import BenchError
from hrkd_bench.machine.energy import Energy, Meter, find_meter, measure_energy
from hrkd_bench.measurement.memory_use import MemoryUse
from hrkd_bench.measurement.process import WorkerProcess, worker_environment

_INTERPRETER_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Resources:
    """What one subject's process used.

    Attributes:
        memory: After it had answered everything, None per number where the system does not say.
        interpreter: The same of an interpreter that imported numpy alone.
        cpu_seconds_per_1000_texts: Processor time of all threads, user and system.
        cores_used: Processor time over wall-clock time of the same pass: above the number of threads it cannot be.
        texts: Texts of that pass.
        energy: None without a meter.
        no_energy_because: Why there is none; empty where there is.
    """

    memory: MemoryUse
    interpreter: MemoryUse
    cpu_seconds_per_1000_texts: float
    cores_used: float
    texts: int
    energy: Energy | None
    no_energy_because: str


def measure_resources(
    workers: Sequence[WorkerProcess],
    indices: Sequence[int],
    done: Callable[[int], None],
    meter: tuple[Meter | None, str] | None = None,
) -> list[Resources]:
    """Let one worker after the other answer texts, none of them timed.

    Args:
        workers: Loaded, with their texts opened.
        indices: Texts of the pass over which processor time and energy are taken.
        done: Called with the number of workers that are finished.
        meter: What measures energy, and why nothing does; found on this machine when left out.

    Raises:
        BenchError: A worker failed.
    """
    interpreter = interpreter_memory()
    found = find_meter() if meter is None else meter
    measured = []
    for number, worker in enumerate(workers):
        done(number)
        measured.append(_measure(worker, list(indices), interpreter, *found))
    return measured


def _measure(
    worker: WorkerProcess, indices: list[int], interpreter: MemoryUse, meter: Meter | None, reason: str
) -> Resources:
    spent = worker.ask("processor_time", indices=indices)
    energy = None
    if meter is not None:
        try:
            energy = measure_energy(meter, lambda: int(worker.ask("processor_time", indices=indices)["texts"]))
        except BenchError as error:
            reason = error.message
    memory = worker.ask("memory")
    return Resources(
        memory=MemoryUse(**{field.name: memory[field.name] for field in fields(MemoryUse)}),
        interpreter=interpreter,
        cpu_seconds_per_1000_texts=1000 * spent["cpu_s"] / spent["texts"],
        cores_used=spent["cpu_s"] / spent["wall_s"],
        texts=spent["texts"],
        energy=energy,
        no_energy_because="" if energy is not None else reason,
    )


def interpreter_memory() -> MemoryUse:
    """Measure a fresh interpreter that imported numpy and nothing else that is large.

    Raises:
        BenchError: It could not be started.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "hrkd_bench.measurement.memory_use"],
            capture_output=True,
            text=True,
            env=worker_environment(threads=1),
            timeout=_INTERPRETER_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise BenchError(f"an interpreter with numpy alone could not be measured: {error}") from error
    return MemoryUse(**json.loads(done.stdout))

"""Memory, processor time and energy of a subject, in the document and by themselves."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from hrkd.bundle import EVAL
from hrkd_bench.document.resource_parts import report_resources
from hrkd_bench.document.schema import read_document
from hrkd_bench.machine.cpus import distinct_cores
from hrkd_bench.machine.energy import Energy
from hrkd_bench.measurement.memory_use import MemoryUse, parse_smaps, read_memory_use
from hrkd_bench.measurement.process import WorkerProcess
from hrkd_bench.measurement.resources import Resources, interpreter_memory, measure_resources
from hrkd_bench.subjects import subject_of
from tiny_bundle import make_bundle, make_examples

ROLLUP = """\
55c1f5a42000-7ffd0d1f9000 ---p 00000000 00:00 0    [rollup]
Rss:              111008 kB
Pss:               80360 kB
Pss_Anon:          65848 kB
Shared_Clean:      44496 kB
Private_Clean:       664 kB
Private_Dirty:     65848 kB
Anonymous:         65848 kB
"""


def test_memory_is_read_by_kind(tmp_path: Path) -> None:
    """Prevents shared pages in the unique set, and kilobytes that are taken for bytes."""
    (tmp_path / "smaps").write_text(ROLLUP, encoding="ascii")
    assert read_memory_use(tmp_path / "smaps", tmp_path / "none") == MemoryUse(
        rss_bytes=111008 * 1024, pss_bytes=80360 * 1024, uss_bytes=66512 * 1024, file_bytes=45160 * 1024
    )
    assert "Pss_Anon" in parse_smaps(ROLLUP)


def test_an_older_kernel_knows_resident_pages_alone(tmp_path: Path) -> None:
    """Prevents zeros where the system says nothing."""
    (tmp_path / "statm").write_text("5000 300 200 1 0 400 0\n", encoding="ascii")
    found = read_memory_use(tmp_path / "none", tmp_path / "statm")
    assert found == MemoryUse(300 * os.sysconf("SC_PAGE_SIZE"), None, None, None)
    assert read_memory_use(tmp_path / "none", tmp_path / "none") == MemoryUse(None, None, None, None)


def test_hardware_threads_of_a_core_are_not_cores(tmp_path: Path) -> None:
    """Prevents a "2-core" profile on the two halves of one core."""
    for number, core in enumerate((0, 0, 1, 1)):
        folder = tmp_path / f"cpu{number}" / "topology"
        folder.mkdir(parents=True)
        (folder / "core_id").write_text(f"{core}\n", encoding="ascii")
        (folder / "physical_package_id").write_text("0\n", encoding="ascii")
    assert distinct_cores([0, 1, 2, 3], tmp_path) == [0, 2, 1, 3]
    assert distinct_cores([4, 7], tmp_path) == [4, 7]


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Resources:
    """What a tiny bundle used, with a meter that is made up."""
    folder = tmp_path_factory.mktemp("resources") / "bundle"
    make_bundle(folder)

    class Made:
        name, covers, seconds = "made up", "nothing", 0.01

        def measure(self, work: Any) -> float:
            work()
            return 2.0

    with WorkerProcess(subject_of(folder), threads=1) as worker:
        worker.load(make_examples(("books", "films"), 2)[0])
        worker.ask("open", examples=str(folder / EVAL))
        return measure_resources([worker], list(range(40)), lambda number: None, (Made(), ""))[0]


def test_a_process_holds_more_than_an_interpreter(used: Resources) -> None:
    """Prevents the memory of the measuring process from being reported for the measured one."""
    assert used.memory.rss_bytes is not None
    assert used.interpreter.rss_bytes is not None
    assert 10**7 < used.interpreter.rss_bytes < used.memory.rss_bytes
    report = report_resources(used)
    assert report.above_interpreter_bytes == used.memory.rss_bytes - used.interpreter.rss_bytes
    assert interpreter_memory().rss_bytes == pytest.approx(used.interpreter.rss_bytes, rel=0.2)


def test_processor_time_is_of_the_process(used: Resources) -> None:
    """Prevents wall-clock time under the name of processor time: one thread cannot use more than one core."""
    assert used.texts == 40
    assert used.cpu_seconds_per_1000_texts > 0
    assert 0 < used.cores_used < 1.1


def test_a_meter_gives_energy(used: Resources) -> None:
    """Prevents a meter that is found and then forgotten."""
    assert isinstance(used.energy, Energy)
    assert used.energy.joules_per_text == 2.0 / used.energy.texts
    assert used.no_energy_because == ""


def test_the_document_carries_resources_of_every_subject(measured: dict[str, Any]) -> None:
    """Prevents resources that are measured and lost on the way, and an energy without a meter or a reason."""
    results = read_document(measured).results
    assert len(results) == 2
    for result in results:
        assert result.resources is not None
        assert result.resources.memory.rss_bytes
        assert result.peak_rss_bytes is not None
        assert (result.resources.energy is None) == bool(result.resources.no_energy_because)

"""`bench_in_browser`: the measurement of a bundle in headless Chromium, and what becomes of the browser."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest

from hrkd.errors import BenchError
from hrkd.recipe import BenchConfig
from hrkd_bench.document.schema import read_document
from hrkd_bench.web import bench as web_bench
from hrkd_bench.web.bench import BrowserFacts, bench_in_browser
from hrkd_bench.web.chromium import find_browser, open_browser
from hrkd_bench.web.server import serve


class TestBench:
    CONFIG = BenchConfig(rounds=2, warmup_texts=2, max_texts=40, min_samples=1, threads=1)

    @pytest.fixture
    def living(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[list[str]]]:
        """Make browsers have their profiles in this test's folder; return what finds their processes anywhere."""
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

        def find() -> list[list[str]]:
            commands = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
            return [command for command in commands if str(tmp_path) in " ".join(command)]

        return find

    def test_the_document_is_that_of_any_measurement(
        self, folders: dict[str, Path], living: Callable[[], list[list[str]]]
    ) -> None:
        """Prevents a result that tables and report cannot show, or answers that are counted for other texts."""
        seen: dict[str, int] = {}

        def progress(phase: str, done: int, total: int) -> None:
            seen[phase] = max(seen.get(phase, 0), len(living()) if phase == "warming up" else done)

        document = bench_in_browser(folders["bundle"], config=self.CONFIG, progress=progress)
        result, facts = read_document(document).results[0], BrowserFacts.model_validate(document["browser"])
        assert (result.engine, result.threads, result.latency_ms.end_to_end.n) == ("onnxruntime-web", 1, 40)
        assert len(result.cold_start.samples_ms) == 2
        assert facts.agreement_with_python == 1.0
        assert facts.largest_logit_difference < 1e-4
        assert facts.compile_ms > 0
        assert "Chrome/" in facts.browser
        assert seen["measuring"] == 40
        assert seen["warming up"] > 1, "no process of the browser was found, so its end cannot be seen either"
        assert living() == []

    def test_a_page_that_hangs_is_given_up_and_leaves_no_browser(
        self, folders: dict[str, Path], living: Callable[[], list[list[str]]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Prevents a measurement that never returns, and a browser that lives on without a window."""
        monkeypatch.setattr(web_bench, "LOAD_TIMEOUT_SECONDS", 0.0)
        with pytest.raises(BenchError, match=r"gave no answer to `Runtime\.evaluate`"):
            bench_in_browser(folders["bundle"], config=self.CONFIG)
        assert living() == []

    def test_a_browser_without_threads_is_refused_before_it_measures(
        self, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Prevents minutes of rounds that are thrown away, because the page had one thread from the start."""
        phases: list[str] = []
        monkeypatch.setattr(web_bench, "serve", partial(serve, isolated=False))
        config = self.CONFIG.model_copy(update={"threads": 2})
        with pytest.raises(BenchError, match=r"ran 1 thread\(s\), 2 were asked for"):
            bench_in_browser(folders["bundle"], config=config, progress=lambda phase, *_: phases.append(phase))
        assert not {"warming up", "measuring"} & set(phases)

    def test_a_browser_that_does_not_start_says_why(self, folders: dict[str, Path], tmp_path: Path) -> None:
        """Prevents a timeout in place of the reason."""
        broken = tmp_path / "chromium"
        broken.write_text("#!/bin/sh\necho 'no usable sandbox' >&2\nexit 1\n", encoding="utf-8")
        broken.chmod(0o755)
        with pytest.raises(BenchError, match="no usable sandbox"):
            bench_in_browser(folders["bundle"], config=self.CONFIG, browser=broken)
        with pytest.raises(BenchError, match="is not a program"):
            find_browser(tmp_path / "missing")

    def test_a_browser_that_ignores_us_is_ended_with_its_children(
        self, living: Callable[[], list[list[str]]], tmp_path: Path
    ) -> None:
        """Prevents processes that outlive the command: a browser that hangs does not notice that its pipe is closed."""
        deaf = tmp_path / "chromium"
        deaf.write_text('#!/bin/sh\ntrap \'\' TERM\n(sleep 600; : "$0") &\nsleep 600; : "$0"\n', encoding="utf-8")
        deaf.chmod(0o755)
        with open_browser(deaf):
            deadline = time.monotonic() + 10
            while not living():  # the kernel shows a program's command line a moment after it was started
                assert time.monotonic() < deadline, "no process of the browser was found"
        assert living() == []

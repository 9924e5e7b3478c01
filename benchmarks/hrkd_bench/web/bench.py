"""Measure a bundle in headless Chromium on this machine, by the page that a visitor gets.

::

    from hrkd.recipe import BenchConfig
    from hrkd_bench.web.bench import bench_in_browser

    document = bench_in_browser(Path("runs/demo/bundles/int8"), config=BenchConfig(threads=2))

The document is that of any other measurement, with `engine: onnxruntime-web`; its `browser` holds what only a browser
has. Every round is a fresh page, and so a fresh process. There is no peak memory: the processes of a browser
serve more than the page.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from hrkd.artifact import read_json
from hrkd.errors import BenchError
from hrkd.metrics import agreement
from hrkd.recipe import BenchConfig
from hrkd_bench.bench import document_of
from hrkd_bench.claims.accuracy import Truth
from hrkd_bench.document.parts import BrowserFacts
from hrkd_bench.examples import choose, read_examples
from hrkd_bench.machine.disturbance import take_snapshot
from hrkd_bench.machine.environment import describe_environment
from hrkd_bench.measurement import schedule
from hrkd_bench.measurement.measure import SEED, Progress
from hrkd_bench.measurement.rounds import Recorder
from hrkd_bench.measurement.samples import ColdStart, Ids, Measurement, Session
from hrkd_bench.subjects import Subject, subject_of
from hrkd_bench.web.chromium import find_browser, open_browser
from hrkd_bench.web.devtools import DevTools, Page
from hrkd_bench.web.server import serve
from hrkd_bench.web.site import FACTS, Site, write_site

ENGINE = "onnxruntime-web"
LOAD_TIMEOUT_SECONDS = 180.0
ROUND_TIMEOUT_SECONDS = 3600.0
_LOADED = "hrkd.loading().then(({ threads }) => ({ threads, isolated: globalThis.crossOriginIsolated }))"
_NANOSECONDS = 1e6  # in a millisecond
_TIMES = ("tokenize", "run", "post", "end_to_end")


@dataclass(frozen=True, slots=True)
class BrowserRun:
    """A measurement in a browser: what any measurement has, and the rest."""

    session: Session
    facts: BrowserFacts


def bench_in_browser(
    bundle: Path,
    *,
    config: BenchConfig,
    assets: Path | None = None,
    npm_cache: Path | None = None,
    browser: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure a bundle in headless Chromium: latency, start, accuracy, and agreement with the Python runtime.

    Args:
        bundle: A bundle's folder.
        config: Threads, rounds, warm-up and number of texts; fixed lengths, open loop and minutes do not apply.
        assets: Third-party files that the user brought, see :func:`hrkd_bench.web.assets.find_assets`.
        npm_cache: Where fetched third-party files are kept.
        browser: The browser's file; found by name if left out.
        progress: Called with phase, done and total.

    Returns:
        The document of :class:`hrkd_bench.document.schema.BenchDocument` with one result, and with ``browser``.

    Raises:
        BenchError: There is no browser, it fails, or the page refuses to answer.
        ArtifactError: The bundle is damaged.
        MissingExtraError: What runs the bundle in Python is not installed.
    """
    report = progress or _no_progress
    program = find_browser(browser)
    subject = replace(subject_of(bundle), engine=ENGINE)
    texts = read_examples(bundle, subject.label_names, subject.domain_names)
    positions = choose(texts, config.max_texts, SEED)
    environment = describe_environment()
    with TemporaryDirectory(prefix="hrkd-page-") as folder:
        page = Path(folder) / "page"
        site = write_site(bundle, page, assets=assets, npm_cache=npm_cache, progress=report)
        run = measure_page(site, subject, positions, config, program, report)
    truth = Truth.of(texts, positions, subject.label_names, subject.domain_names)
    document = document_of(run.session, truth, texts, environment, config, 0)
    return {**document, "browser": run.facts.model_dump(mode="json")}


def measure_page(
    site: Site, subject: Subject, positions: Ids, config: BenchConfig, program: Path, progress: Progress
) -> BrowserRun:
    """Measure a page that was written, in the browser ``program``, on the texts at ``positions``.

    Raises:
        BenchError: The browser fails, or the page refuses to answer.
    """
    before = take_snapshot()
    entries = schedule.passes(positions, config.min_samples, SEED)
    chunks = np.array_split(entries, min(config.rounds, len(entries)))
    recorder, found, done = Recorder(subject), [], 0
    with serve(site.folder) as server, open_browser(program) as browser:
        for number, chunk in enumerate(chunks):
            progress("starting", number, len(chunks))
            with _fresh_page(browser.tools, server.origin, config.threads) as page:
                report = _reporter(progress, done, len(entries))
                result = _measure(page, chunk, config.warmup_texts, number == len(chunks) - 1, report)
            recorder.add(number, chunk, _columns(result["rows"]))
            found.append(result)
            done += len(chunk)
        version, own = browser.tools.version(), browser.cpu_seconds()
        after = take_snapshot()
    # The browser's processes have not ended yet, so the snapshot does not count them as ours.
    after = replace(after, own_seconds=None if after.own_seconds is None else after.own_seconds + own)
    measurement = Measurement(
        subject=subject,
        size_bytes=site.manifest.size_bytes,
        samples=recorder.samples(positions),
        peak_rss_bytes=None,
        throughput_per_s=found[-1]["throughput_per_s"],
        cold_starts=[_cold_start(result["loading_ms"]) for result in found],
    )
    facts = _facts(found, version, measurement, positions, site)
    return BrowserRun(Session([measurement], before, after), facts)


@contextmanager
def _fresh_page(tools: DevTools, origin: str, threads: int) -> Any:
    """Open the page in a process of its own, and wait until it is ready with as many threads as asked for."""
    page = tools.open_page()
    try:
        page.open(f"{origin}/?threads={threads}")
        _check(page.evaluate(_LOADED, timeout=LOAD_TIMEOUT_SECONDS), threads)
        yield page
    finally:
        page.close()


def _measure(page: Page, chunk: Ids, warmup: int, with_throughput: bool, progress: Progress) -> dict[str, Any]:
    page.bind("reportProgress", lambda payload: progress(*json.loads(payload)))
    options = json.dumps({"positions": chunk.tolist(), "warmup": warmup, "throughput": with_throughput})
    call = f"hrkd.measure({{...{options}, onProgress: (...facts) => reportProgress(JSON.stringify(facts))}})"
    result: dict[str, Any] = page.evaluate(call, timeout=ROUND_TIMEOUT_SECONDS)
    return result


def _reporter(progress: Progress, before: int, total: int) -> Progress:
    """Count the texts of all rounds together; warming up is said without numbers of its own."""

    def report(phase: str, done: int, of: int) -> None:
        if phase == "measuring":
            progress(phase, before + done, total)
        else:
            progress(phase, done, of)

    return report


def _columns(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return a page's rows as the answer that a measuring process gives."""
    for row in rows:
        row["post_ms"] = row["end_to_end_ms"] - row["tokenize_ms"] - row["run_ms"]
    times = {f"{name}_ns": [row[f"{name}_ms"] * _NANOSECONDS for row in rows] for name in _TIMES}
    return {**times, "tokens": [row["tokens"] for row in rows], "logits": [row["logits"] for row in rows]}


def _check(found: dict[str, Any], threads: int) -> None:
    """Refuse another number of threads than asked for: a browser falls back to one in silence."""
    if found["threads"] != threads or not found["isolated"]:
        raise BenchError(
            f"the browser ran {found['threads']} thread(s), {threads} were asked for",
            hint="this browser does not isolate pages; use a recent Chromium",
        )


def _cold_start(loading: dict[str, Any]) -> ColdStart:
    return ColdStart(
        total_ms=loading["first_answer_ms"],
        import_ms=loading["download_ms"] + loading["verify_ms"],
        load_ms=loading["compile_ms"],
        first_ms=loading["first_ms"],
    )


def _facts(
    found: Sequence[dict[str, Any]], version: str, measurement: Measurement, positions: Ids, site: Site
) -> BrowserFacts:
    last = found[-1]
    expected = np.asarray(read_json(site.folder / FACTS)["reference_logits"])[positions]
    logits = measurement.samples.logits
    names = ("download_ms", "verify_ms", "compile_ms", "first_ms", "first_answer_ms")
    return BrowserFacts(
        browser=version,
        runtime=last["runtime"],
        compared_with=last["compared_with"],
        threads=last["threads"],
        cross_origin_isolated=last["cross_origin_isolated"],
        clock_resolution_ms=round(last["clock_resolution_ms"], 6),
        agreement_with_python=agreement(np.argmax(logits, axis=1), np.argmax(expected, axis=1)),
        largest_logit_difference=round(float(np.abs(logits - expected).max()), 6),
        downloaded_bytes=last["loading_ms"]["downloaded_bytes"],
        **{name: round(median(result["loading_ms"][name] for result in found), 1) for name in names},
    )


def _no_progress(phase: str, done: int, total: int) -> None:
    """Report to nobody."""

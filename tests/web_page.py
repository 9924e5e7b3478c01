"""What tests do with the page of a bundle in a browser."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hrkd.artifact import sha256_file
from hrkd_bench.web.devtools import Page
from hrkd_bench.web.site import INDEX

OpenPage = Callable[..., Page]
"""Serves a folder and opens its page; see `tests/bench/web/conftest.py`."""


def ask(page: Page, text: str, domain: str | None = None, pair: str | None = None) -> dict[str, Any]:
    """Return the page's answer."""
    answer: dict[str, Any] = page.evaluate(f"hrkd.classify(...{json.dumps([text, domain, pair])})")
    return answer


def answers_of(page: Page, texts: list[str]) -> list[dict[str, Any]]:
    """Return the page's answers to many texts, of no known domain."""
    call = (
        "(async () => { const all = []; for (const text of TEXTS) all.push(await hrkd.classify(text)); return all; })()"
    )
    found: list[dict[str, Any]] = page.evaluate(call.replace("TEXTS", json.dumps(texts)))
    return found


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for what comes soon."""
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def problem_of(page: Page) -> str:
    """Wait until the page has given up, and return what it says."""
    wait_until(lambda: page.evaluate("document.documentElement.dataset.state") != "loading")
    assert page.evaluate("document.documentElement.dataset.state") == "failed"
    assert page.evaluate("document.getElementById('classify').disabled")
    return str(page.evaluate("document.getElementById('problem').textContent"))


def reseal(page: Path, *changed: str) -> None:
    """Make a page whose list of hashes fits again, as whoever exchanges a file on purpose would."""
    sums = page / "SHA256SUMS"
    lines = [line for line in sums.read_text(encoding="utf-8").splitlines() if line[66:] not in changed]
    lines += [f"{sha256_file(page / name)}  {name}" for name in changed]
    before = sha256_file(sums)
    sums.write_text("\n".join(lines) + "\n", encoding="utf-8")
    index = (page / INDEX).read_text(encoding="utf-8")
    assert before in index
    (page / INDEX).write_text(index.replace(before, sha256_file(sums)), encoding="utf-8")

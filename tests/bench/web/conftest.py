"""A tiny bundle's page in a real headless Chromium, shared by all tests of the page.

They are skipped where Chromium or the page's libraries cannot be had; continuous integration has both.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import tiny_bundle
from hrkd.errors import BenchError
from hrkd_bench.web.assets import find_assets
from hrkd_bench.web.chromium import Browser, find_browser, open_browser
from hrkd_bench.web.devtools import Page
from hrkd_bench.web.server import serve
from hrkd_bench.web.site import write_site
from tiny_bundle import make_bundle
from web_page import OpenPage

LETTERS = tuple(
    prefix + chr(code)
    for first, last in ((0x61, 0x7A), (0xDF, 0xFF), (0x390, 0x3CF), (0x5D0, 0x5EA), (0x620, 0x64A), (0x4E00, 0x4E5F))
    for code in range(first, last + 1)
    for prefix in ("", "##")
)
"""Pieces of one letter, accents included, so that what a normaliser does to a text shows in its tokens."""


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A bundle with noise, so that answers differ between texts, and its page."""
    try:
        find_browser()
        find_assets()
    except BenchError as error:
        pytest.skip(f"the page cannot be run here: {error.message}")
    root = tmp_path_factory.mktemp("web")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_bundle, "VOCABULARY", (*tiny_bundle.VOCABULARY, *LETTERS))
        make_bundle(root / "bundle", noise=0.4, per_domain=70, max_length=64)
    write_site(root / "bundle", root / "page")
    return {"bundle": root / "bundle", "page": root / "page"}


@pytest.fixture(scope="session")
def browser(folders: dict[str, Path]) -> Iterator[Browser]:
    with open_browser(find_browser()) as running:
        yield running


@pytest.fixture
def open_page(browser: Browser, folders: dict[str, Path]) -> Iterator[OpenPage]:
    """Serve a page and open it."""
    with ExitStack() as stack:

        def open_it(folder: Path = folders["page"], *, query: str = "", isolated: bool = True) -> Page:
            server = stack.enter_context(serve(folder, isolated=isolated))
            page = browser.tools.open_page()
            stack.callback(page.close)
            page.open(f"{server.origin}/{query}")
            return page

        yield open_it


@pytest.fixture(scope="session")
def page(browser: Browser, folders: dict[str, Path]) -> Iterator[Page]:
    """A page that is ready, shared by the tests that only ask it."""
    with serve(folders["page"]) as server:
        opened = browser.tools.open_page()
        opened.open(f"{server.origin}/?threads=2")
        opened.evaluate("hrkd.loading()")
        yield opened
        opened.close()

"""Rebuild `docs/browser.png`: the page of a bundle after an answer and a measurement, as a visitor sees it.

Usage: `python scripts/browser_picture.py runs/demo/bundles/int8`; takes about a minute, needs Chromium.
"""

from __future__ import annotations

import base64
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from hrkd_bench.web.chromium import find_browser, open_browser
from hrkd_bench.web.devtools import Page
from hrkd_bench.web.server import serve
from hrkd_bench.web.site import write_site

TARGET = Path(__file__).resolve().parents[1] / "docs" / "browser.png"
TEXT = "A fine little film, with a dull last act"
WIDTH, HEIGHT = 800, 900


def take_picture(page: Page) -> bytes:
    """Classify, measure, and return a PNG of the whole page."""
    page.call("Emulation.setDeviceMetricsOverride", width=WIDTH, height=HEIGHT, deviceScaleFactor=1, mobile=False)
    page.evaluate(f"document.getElementById('text').value = {TEXT!r}, document.getElementById('form').requestSubmit()")
    while page.evaluate("document.getElementById('answer').hidden"):
        time.sleep(0.1)
    page.evaluate("document.getElementById('measure').click()")
    while page.evaluate("document.getElementById('results').hidden"):
        time.sleep(0.5)
    page.evaluate("document.activeElement.blur()")
    size = page.call("Page.getLayoutMetrics")["cssContentSize"]
    clip = {"x": 0, "y": 0, "width": WIDTH, "height": size["height"], "scale": 1}
    picture = page.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
    return base64.b64decode(picture["data"])


def main() -> int:
    """Write the picture of the bundle that is named."""
    if len(sys.argv) != 2:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    with TemporaryDirectory() as folder:
        site = write_site(Path(sys.argv[1]), Path(folder) / "page")
        with serve(site.folder) as server, open_browser(find_browser()) as browser:
            page = browser.tools.open_page()
            page.open(f"{server.origin}/?threads=1")
            page.evaluate("hrkd.loading()")
            TARGET.write_bytes(take_picture(page))
    return 0


if __name__ == "__main__":
    sys.exit(main())

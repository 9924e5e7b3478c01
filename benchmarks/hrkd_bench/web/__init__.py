"""A bundle in the browser: a static page that classifies and measures, and the measurement of it in headless Chromium.

``site.write_site`` writes the folder, ``bench.bench_in_browser`` serves it on this machine and measures it there. The
third-party files (``packages.json``: onnxruntime-web and tokenizers) are fetched once with npm and never shipped here.
"""

from __future__ import annotations

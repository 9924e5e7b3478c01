"""A web server for one page, on this machine only: it isolates the page, and remembers what was asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from hrkd_bench.web.isolation import ISOLATION


class PageServer(ThreadingHTTPServer):
    """Serves a folder on a free port of 127.0.0.1.

    Attributes:
        requested: Path of every request, in order.
    """

    daemon_threads = True

    def __init__(self, folder: Path, isolated: bool) -> None:
        self.requested: list[str] = []
        self.isolated = isolated
        super().__init__(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))

    @property
    def origin(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a browser that is ended leaves half-sent answers behind."""


class _Handler(SimpleHTTPRequestHandler):
    server: PageServer
    extensions_map = {  # noqa: RUF012 - as in the base class; a system's own table may know no JavaScript
        ".html": "text/html; charset=utf-8",
        ".js": "text/javascript",
        ".css": "text/css",
        ".json": "application/json",
        ".wasm": "application/wasm",
        "": "application/octet-stream",
    }

    def end_headers(self) -> None:
        """Add what isolates the page, and keep nothing in caches, so that every start is a cold one."""
        for name, value in ISOLATION.items() if self.server.isolated else ():
            self.send_header(name, value)
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def send_head(self) -> Any:
        """Note the request, whatever comes of it."""
        self.server.requested.append(self.path)
        return super().send_head()

    def list_directory(self, path: Any) -> None:
        """Refuse: the page knows its files."""
        self.send_error(404)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing; stderr belongs to the command's words."""


@contextmanager
def serve(folder: Path, *, isolated: bool = True) -> Iterator[PageServer]:
    """Serve a folder until the block ends.

    Args:
        folder: A page, see :func:`hrkd_bench.web.site.write_site`.
        isolated: Whether to send the headers of :data:`ISOLATION`.
    """
    with PageServer(folder, isolated) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()

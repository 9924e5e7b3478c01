"""The DevTools protocol over two pipes: JSON messages that end with a zero byte. No library, no open port."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import IO, Any, Self

from hrkd.errors import BenchError

CALL_TIMEOUT_SECONDS = 60.0
_CHUNK = 1 << 16

Event = Callable[[dict[str, Any]], None]


class DevTools:
    """A connection to a browser. Made by :func:`hrkd_bench.web.chromium.open_browser`.

    Args:
        commands: What the browser reads.
        messages: What the browser writes.
        last_words: Returns what it said on stderr, for errors.
    """

    def __init__(self, commands: IO[bytes], messages: IO[bytes], last_words: Callable[[], str]) -> None:
        self._commands = commands
        self._messages = messages
        self._last_words = last_words
        self._number = 0
        self._arrived: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._listeners: dict[str, Event] = {}

    def __enter__(self) -> Self:
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._commands.close()  # the browser ends when its pipe does
        except BrokenPipeError:
            return

    def version(self) -> str:
        """Return the browser's name and version."""
        return str(self.call("Browser.getVersion")["product"])

    def open_page(self) -> Page:
        """Open an empty page in a process of its own."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        return Page(self, target, session)

    def listen(self, event: str, listener: Event) -> None:
        """Call ``listener`` with the parameters of every such event that comes while a call waits."""
        self._listeners[event] = listener

    def call(
        self, method: str, *, session: str | None = None, timeout: float = CALL_TIMEOUT_SECONDS, **params: Any
    ) -> dict[str, Any]:
        """Call a method of the protocol and return its result.

        Raises:
            BenchError: The browser refuses, died, or did not answer in time.
        """
        self._number += 1
        request: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if session is not None:
            request["sessionId"] = session
        try:
            self._commands.write(json.dumps(request).encode() + b"\0")
            self._commands.flush()
        except (BrokenPipeError, ValueError) as error:
            raise self._death(method) from error
        answer = self._answer(self._number, method, timeout)
        if "error" in answer:
            raise BenchError(f"the browser refuses `{method}`: {answer['error'].get('message')}")
        result: dict[str, Any] = answer["result"]
        return result

    def _answer(self, number: int, method: str, timeout: float) -> dict[str, Any]:
        deadline = time.monotonic() + timeout
        while True:
            try:
                message = self._arrived.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise BenchError(f"the browser gave no answer to `{method}` within {timeout:.0f} s") from None
            if message is None:
                raise self._death(method)
            if message.get("id") == number:
                return message
            listener = self._listeners.get(message.get("method", ""))
            if listener is not None:
                listener(message["params"])

    def _read(self) -> None:
        """Cut the stream into messages; None says that there will be no more."""
        pending = b""
        try:
            while chunk := self._messages.read1(_CHUNK):  # type: ignore[attr-defined]
                *complete, pending = (pending + chunk).split(b"\0")
                for part in complete:
                    self._arrived.put(json.loads(part))
        except (OSError, ValueError):  # closed while reading
            pass
        self._arrived.put(None)

    def _death(self, method: str) -> BenchError:
        said = self._last_words()
        words = f"; its last words:\n{said}" if said else " without a word"
        return BenchError(
            f"the browser ended during `{method}`{words}", hint="start it by hand with --headless, and see what it says"
        )


class Page:
    """One page of the browser."""

    def __init__(self, tools: DevTools, target: str, session: str) -> None:
        self._tools = tools
        self._target = target
        self._session = session

    def call(self, method: str, *, timeout: float = CALL_TIMEOUT_SECONDS, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol for this page."""
        return self._tools.call(method, session=self._session, timeout=timeout, **params)

    def open(self, address: str) -> None:
        """Go to an address; returns when its scripts may be called.

        Raises:
            BenchError: The server did not answer.
        """
        problem = self.call("Page.navigate", url=address).get("errorText")
        if problem:
            raise BenchError(f"the browser cannot open {address}: {problem}")
        self.evaluate(
            "new Promise((done) => document.readyState === 'complete' ? done() : addEventListener('load', done))"
        )

    def evaluate(self, expression: str, *, timeout: float = CALL_TIMEOUT_SECONDS) -> Any:
        """Return the JSON value of a JavaScript expression, awaited where it is a promise.

        Raises:
            BenchError: It throws, or takes too long.
        """
        answer = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, timeout=timeout
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            text = details.get("exception", {}).get("description") or details.get("text", "")
            raise BenchError(f"the page fails: {text.splitlines()[0] if text else 'without a word'}")
        return answer["result"].get("value")

    def bind(self, name: str, listener: Callable[[str], None]) -> None:
        """Give the page a function of one string, which calls ``listener`` while an evaluation waits."""

        def hear(params: dict[str, Any]) -> None:
            if params["name"] == name:
                listener(params["payload"])

        self._tools.listen("Runtime.bindingCalled", hear)
        self.call("Runtime.enable")
        self.call("Runtime.addBinding", name=name)

    def close(self) -> None:
        """Close the page."""
        self._tools.call("Target.closeTarget", targetId=self._target)

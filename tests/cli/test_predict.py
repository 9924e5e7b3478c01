"""`hrkd predict`: every text gets its answer, in order, at once, and an error says which line."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tiny_bundle import make_bundle

HRKD = [sys.executable, "-c", "import sys; from hrkd_cli.main import main; sys.exit(main())"]
BUFFERED = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
"""What a user's shell has: with Python's own buffers off, a missing flush would not be noticed."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    make_bundle(folder, domain_names=("books", "films", "phones"))
    return folder


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch):
    """Put bytes on stdin."""

    def give(content: bytes | str) -> None:
        content = content.encode() if isinstance(content, str) else content
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))

    return give


def lines(out: str) -> list[dict[str, Any]]:
    assert out == "" or out.endswith("\n")
    return [json.loads(line) for line in out.removesuffix("\n").split("\n") if out]


class TestTexts:
    def test_options_are_answered_like_the_api(self, bundle: Path, hrkd) -> None:
        """Prevents a command that answers otherwise than the runtime it stands for."""
        from hrkd_bench.runtime import Classifier

        result = hrkd("predict", bundle, "--text", "good film", "--text", "bad", "--domain", "films")
        assert result.code == 0, result.err
        expected = Classifier.load(bundle)(["good film", "bad"], "films")
        assert lines(result.out) == [
            {"text": text, "label": one.label, "domain": "films", "probabilities": one.probabilities}
            for text, one in zip(("good film", "bad"), expected, strict=True)
        ]

    def test_without_a_domain_all_heads_are_averaged(self, bundle: Path, hrkd) -> None:
        """Prevents the first domain's head from answering for everybody."""
        (mean,) = lines(hrkd("predict", bundle, "--text", "film").out)
        own = [
            lines(hrkd("predict", bundle, "--text", "film", "--domain", name).out)[0]["probabilities"]["pos"]
            for name in ("books", "films", "phones")
        ]
        assert mean["domain"] is None
        assert mean["probabilities"]["pos"] == pytest.approx(sum(own) / 3, abs=1e-6)

    @pytest.mark.parametrize(
        ("content", "texts"),
        [
            ("good\nbad\n", ["good", "bad"]),
            ("good\nbad", ["good", "bad"]),
            ("good\r\nbad\r\n", ["good", "bad"]),
            ("good\n\nbad\n", ["good", "", "bad"]),
            ("\n", [""]),
            ("", []),
            ("\ufeffgood\n", ["good"]),
            ("a\u2028b\x85c\x0bd\n", ["a\u2028b\x85c\x0bd"]),
            ("a\x00b\n", ["a\x00b"]),
            ("a\rb\n", ["a\rb"]),
            (" good\t \n", [" good\t "]),
            ('{"text": "x"}\n', ['{"text": "x"}']),
            ("🙂 ‮עברית\n", ["🙂 ‮עברית"]),
        ],
    )
    def test_one_line_is_one_text(self, content: str, texts: list[str], bundle: Path, given, hrkd) -> None:
        """Prevents answers that stand beside another text: a line too many, one too few, or one that was split."""
        given(content)
        result = hrkd("predict", bundle)
        assert result.code == 0, result.err
        assert [line["text"] for line in lines(result.out)] == texts

    def test_files_are_read_by_suffix(self, bundle: Path, tmp_path: Path, hrkd) -> None:
        """Prevents JSON from being classified as text."""
        for name, form, text in (("a.txt", [], '{"text": "x"}'), ("a.jsonl", [], "x"), ("b.txt", ["jsonl"], "x")):
            (tmp_path / name).write_text('{"text": "x"}\n', encoding="utf-8")
            options = ["--format", *form] if form else []
            assert lines(hrkd("predict", bundle, "--input", tmp_path / name, *options).out)[0]["text"] == text

    def test_texts_can_be_left_out(self, bundle: Path, hrkd) -> None:
        """Prevents texts from being copied into places where they must not be."""
        (line,) = lines(hrkd("predict", bundle, "--text", "good", "--without-texts").out)
        assert list(line) == ["label", "domain", "probabilities"]


class TestRecords:
    def answer(self, bundle: Path, given, hrkd, *records: Any, options: tuple[str, ...] = ()) -> list[dict[str, Any]]:
        given("".join(f"{json.dumps(record)}\n" for record in records))
        result = hrkd("predict", bundle, "--format", "jsonl", *options)
        assert result.code == 0, result.err
        return lines(result.out)

    def test_each_record_has_its_own_domain(self, bundle: Path, given, hrkd) -> None:
        """Prevents the option from overruling a record, and null from being a domain's name."""
        records = [{"text": "a", "domain": "films"}, {"text": "a", "domain": None}, {"text": "a"}]
        assert [line["domain"] for line in self.answer(bundle, given, hrkd, *records)] == ["films", None, None]
        options = ("--domain", "books")
        answered = self.answer(bundle, given, hrkd, *records, options=options)
        assert [line["domain"] for line in answered] == ["films", "books", "books"]

    def test_other_keys_are_handed_through(self, bundle: Path, given, hrkd) -> None:
        """Prevents an id from being lost on the way, or a number in it from being rounded."""
        extra = {"id": 12345678901234567890, "nested": {"a": [1.5, None, "é\u2028"]}, "half": "\ud83d"}
        (line,) = self.answer(bundle, given, hrkd, {"text": "good", **extra})
        assert {key: line[key] for key in extra} == extra

    def test_a_label_of_the_input_survives(self, bundle: Path, given, hrkd) -> None:
        """Prevents the true label from being replaced by the predicted one without a word."""
        (line,) = self.answer(bundle, given, hrkd, {"text": "good", "label": "neg", "probabilities": [1]})
        assert (line["label"], line["input_label"], line["input_probabilities"]) == ("pos", "neg", [1])

    def test_an_unknown_domain_is_kept_when_the_mean_answers(self, bundle: Path, given, hrkd) -> None:
        """Prevents a new tenant's texts from being refused, or its name from being lost."""
        records = [{"text": "good", "domain": "garden"}, {"text": "good", "domain": "books"}]
        new, known = self.answer(bundle, given, hrkd, *records, options=("--unknown-domain", "mean"))
        assert (new["domain"], new["input_domain"]) == (None, "garden")
        assert known["domain"] == "books"
        assert "input_domain" not in known

    def test_blank_lines_are_no_records(self, bundle: Path, given, hrkd) -> None:
        """Prevents a file that ends with two line ends from being an error."""
        given('\n{"text": "good"}\n  \n')
        assert len(lines(hrkd("predict", bundle, "--format", "jsonl").out)) == 1

    def test_pairs_are_answered(self, tmp_path: Path, given, hrkd) -> None:
        """Prevents the second text of a pair from being left out."""
        make_bundle(tmp_path / "pairs", text_pairs=True)
        records = [{"text": "film", "text_pair": pair} for pair in ("good", "bad")]
        answered = self.answer(tmp_path / "pairs", given, hrkd, *records)
        assert [(line["label"], line["text_pair"]) for line in answered] == [("pos", "good"), ("neg", "bad")]

    @pytest.mark.parametrize(
        ("line", "problem"),
        [
            ("{", "is not JSON"),
            ("good", "is not JSON"),
            ('"good"', "is not an object with a `text`"),
            ("[]", "is not an object with a `text`"),
            ('{"txt": "good"}', "is not an object with a `text`"),
            ('{"text": null}', "is not an object with a `text`"),
            ('{"text": 3}', "is not an object with a `text`"),
            ('{"text": "good", "domain": 3}', "`domain` is not a text"),
            ('{"text": "good", "domain": "garden"}', "domain 'garden' is unknown"),
            ('{"text": "good", "domain": ""}', "domain '' is unknown"),
            ('{"text": "good", "text_pair": "bad"}', "this bundle classifies single texts"),
            ('{"text": "good", "text_pair": ["bad"]}', "`text_pair` is not a text"),
            ('{"text": "\\ud83d"}', "is not valid text"),
            ('{"text": "good", "id": NaN}', "NaN is not a JSON number"),
            ('{"text": "good", "id": 1e999}', "cannot be written as JSON"),
            ('{"text": "good", "label": "a", "input_label": "b"}', "has `label` and `input_label`"),
            ("[" * 100_000, "is not JSON"),
            ('{"text": "good", "id": ' + "9" * 5000 + "}", "is not JSON"),
            (b"\xff", "is not UTF-8"),
            pytest.param(b"x" * 16_000_001, "more than 16000000 bytes", id="long line"),
        ],
    )
    def test_a_wrong_line_is_named(self, line: str | bytes, problem: str, bundle, tmp_path, hrkd) -> None:
        """Prevents a skipped record, half an output file, and a search for one line among a million."""
        line = line.encode() if isinstance(line, str) else line
        source, target = tmp_path / "in.jsonl", tmp_path / "out" / "answers.jsonl"
        source.write_bytes(b'{"text": "good"}\n\n' + line + b"\n")
        result = hrkd("predict", bundle, "--input", source, "--output", target)
        assert result.code == 2
        assert "in.jsonl` line 3" in result.err
        assert problem in result.err
        assert len(result.err) < 1000
        assert list(target.parent.iterdir()) == []


class TestOutput:
    def test_a_file_appears_complete(self, bundle: Path, tmp_path: Path, hrkd) -> None:
        """Prevents answers from going to stdout as well, or an older file from being lost unasked."""
        target = tmp_path / "out.jsonl"
        options = ("predict", bundle, "--text", "good", "--output", target)
        assert (hrkd(*options).code, lines(target.read_text())[0]["label"]) == (0, "pos")
        target.write_text("old", encoding="utf-8")
        again = hrkd(*options)
        assert (again.code, again.out, target.read_text()) == (2, "", "old")
        assert "exists already" in again.err
        assert hrkd(*options, "--overwrite").code == 0
        assert lines(target.read_text())[0]["label"] == "pos"

    def test_input_may_be_replaced_by_its_answers(self, bundle: Path, tmp_path: Path, hrkd) -> None:
        """Prevents the input from being emptied before it is read."""
        file = tmp_path / "texts.jsonl"
        file.write_text('{"text": "good"}\n{"text": "bad"}\n', encoding="utf-8")
        assert hrkd("predict", bundle, "--input", file, "--output", file, "--overwrite").code == 0
        assert [line["label"] for line in lines(file.read_text())] == ["pos", "neg"]

    def test_answers_come_while_the_input_is_open(self, bundle: Path) -> None:
        """Prevents buffers that hold answers back until the other side, which waits for them, gives up."""
        with subprocess.Popen(
            [*HRKD, "predict", str(bundle)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=BUFFERED
        ) as process:
            timer = threading.Timer(60, process.kill)
            timer.start()
            answered = []
            for text in (b"good\n", b"bad\n"):
                process.stdin.write(text)
                process.stdin.flush()
                answered.append(json.loads(process.stdout.readline())["label"])
            process.stdin.close()
            assert process.wait(timeout=60) == 0
            timer.cancel()
        assert answered == ["pos", "neg"]

    @pytest.mark.skipif(os.name == "nt", reason="pipes close differently")
    def test_a_closed_pipe_ends_it_quietly(self, bundle: Path, tmp_path: Path) -> None:
        """Prevents `hrkd predict ... | head -1` from printing a traceback, or from reading on for hours."""
        endless = tmp_path / "many.txt"
        endless.write_text("good\n" * 100_000, encoding="utf-8")
        command = [*HRKD, "predict", str(bundle), "--input", str(endless)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=BUFFERED) as process:
            assert json.loads(process.stdout.readline())["label"] == "pos"
            process.stdout.close()
            assert process.stderr.read() == b""
            process.wait(timeout=60)

    def test_answers_in_a_file_by_redirection_are_complete(self, bundle: Path, tmp_path: Path) -> None:
        """Prevents the last block of answers from staying in a buffer."""
        (tmp_path / "in.txt").write_text("good\n" * 50, encoding="utf-8")
        with (tmp_path / "out.jsonl").open("wb") as out:
            command = [*HRKD, "predict", str(bundle), "--input", str(tmp_path / "in.txt")]
            subprocess.run(command, stdout=out, check=True, env=BUFFERED)
        assert len(lines((tmp_path / "out.jsonl").read_text())) == 50

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
    def test_a_full_disk_is_an_error(self, bundle: Path) -> None:
        """Prevents a success with no answers, which are still in a buffer when the disk is found full."""
        with Path("/dev/full").open("wb") as full:
            command = [*HRKD, "predict", str(bundle), "--text", "good"]
            result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=BUFFERED, check=False)
        assert result.returncode == 2
        assert result.stderr.startswith(b"error: no space left on device")


class TestRefusals:
    def test_what_is_wrong_with_the_call_is_said_first(self, bundle: Path, tmp_path: Path, given, hrkd) -> None:
        """Prevents a stdin that is read for an hour before a misspelt domain is found."""
        given(b"\xff")
        unknown = hrkd("predict", bundle, "--domain", "film")
        assert (unknown.code, "--domain: domain 'film' is unknown" in unknown.err) == (2, True)
        assert "books, films, phones" in unknown.err
        assert "--unknown-domain mean" in unknown.err
        both = hrkd("predict", bundle, "--text", "a", "--input", "-")
        assert (both.code, "both given" in both.err) == (2, True)
        missing = hrkd("predict", bundle, "--input", tmp_path / "nowhere.txt")
        assert (missing.code, "nowhere.txt` cannot be read" in missing.err) == (2, True)
        folder = hrkd("predict", bundle, "--input", tmp_path)
        assert (folder.code, "cannot be read" in folder.err) == (2, True)

    def test_single_texts_for_a_bundle_of_pairs(self, tmp_path: Path, hrkd) -> None:
        """Prevents a pair classifier from answering half a question."""
        make_bundle(tmp_path / "pairs", text_pairs=True)
        result = hrkd("predict", tmp_path / "pairs", "--text", "good")
        assert result.code == 2
        assert "text 1: this bundle classifies pairs of texts" in result.err

    def test_a_zip_is_answered_with_the_command_for_it(self, bundle: Path, hrkd) -> None:
        """Prevents a dead end for who has just downloaded a packed bundle."""
        archive = bundle.with_name("packed.zip")
        archive.write_bytes(b"PK")
        result = hrkd("predict", archive, "--text", "good")
        assert result.code == 2
        assert f"`hrkd bundle unpack {archive}`" in result.err

    def test_only_the_edge_extra_is_needed(self, bundle: Path) -> None:
        """Prevents a device from needing torch to answer."""
        absent = ("torch", "transformers", "onnx", "optimum", "datasets", "hrkd_export", "huggingface_hub", "jinja2")
        code = (
            f"import sys\nfor name in {absent!r}: sys.modules[name] = None\n"
            f"from hrkd_cli.main import main\nsys.exit(main(['predict', {str(bundle)!r}, '--text', 'good']))"
        )
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        assert lines(result.stdout)[0]["label"] == "pos"

    def test_a_missing_edge_extra_is_named(self, bundle: Path, monkeypatch, hrkd) -> None:
        """Prevents `No module named onnxruntime` on a bare installation."""
        monkeypatch.setattr("hrkd_cli.extras.is_installed", lambda name: name != "onnxruntime")
        result = hrkd("predict", bundle, "--text", "good")
        assert result.code == 2
        assert "hint: pip install 'hrkd[edge]'" in result.err

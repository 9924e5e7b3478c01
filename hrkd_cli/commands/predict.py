"""`hrkd predict`: texts in, JSONL out."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Literal

import typer

from hrkd.errors import DataError
from hrkd.output_file import new_file
from hrkd_cli.options import Overwrite

if TYPE_CHECKING:
    from hrkd_bench.predict import InputFormat, Record

EXAMPLES = """\b
Examples:
  hrkd predict runs/demo/bundles/int8 --domain movies --text "a fine little film"
  hrkd predict runs/demo/bundles/int8 --input reviews.txt > answers.jsonl
  tail -f reviews.jsonl | hrkd predict runs/demo/bundles/int8 --format jsonl --unknown-domain mean
"""
STANDARD = "-"


def command(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Bundle folder, made by `hrkd export`.")],
    domain: Annotated[
        str | None, typer.Option("--domain", metavar="NAME", help="Of texts that name none; mean of all heads without.")
    ] = None,
    texts: Annotated[
        list[str] | None, typer.Option("--text", metavar="TEXT", help="A text to classify; repeatable.")
    ] = None,
    source: Annotated[
        str | None, typer.Option("--input", "-i", metavar="FILE|-", help="Texts; stdin if left out.")
    ] = None,
    form: Annotated[
        Literal["text", "jsonl"] | None,
        typer.Option("--format", help="Lines of text, or JSON objects; by suffix if left out."),
    ] = None,
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE|-", help="JSONL to write.")] = STANDARD,
    unknown_domain: Annotated[
        Literal["refuse", "mean"],
        typer.Option("--unknown-domain", help="What to do with one the bundle does not know."),
    ] = "refuse",
    without_texts: Annotated[bool, typer.Option("--without-texts", help="Do not repeat the texts.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Classify texts, one JSON object per line.

    Input is one text per line, or JSONL with `text` and optionally `text_pair` and `domain`. Other keys are handed
    through; a `label` of the input becomes `input_label`. Nothing but the edge extra is needed.
    """
    from hrkd_cli.extras import require

    require("`hrkd predict`", "edge")
    from hrkd_bench.predict import answers, known_domain
    from hrkd_bench.runtime import Classifier

    with _records(texts, source, form) as records:
        classifier = Classifier.load(bundle)
        default = known_domain(classifier, domain, unknown_domain, "--domain")  # said before anything is read
        repeat = not without_texts
        lines = answers(classifier, records, domain=default, unknown_domain=unknown_domain, with_texts=repeat)
        with _sink(output, overwrite=overwrite) as write:
            for line in lines:
                write(line)


@contextmanager
def _records(texts: list[str] | None, source: str | None, form: InputFormat | None) -> Iterator[Iterator[Record]]:
    """Open what is to be classified."""
    from hrkd_bench.predict import given_texts, read_records

    if texts and source is not None:
        raise DataError("--text and --input were both given", hint="leave one of them out")
    if texts:
        yield given_texts(texts)
    elif source in (None, STANDARD):
        if sys.stdin.isatty():
            sys.stderr.write("reading texts from the terminal, one per line; Ctrl-D ends\n")
        yield read_records(sys.stdin.buffer, "stdin", form or "text")
    else:
        path = Path(source)
        with _open(path) as stream:
            yield read_records(stream, f"`{path}`", form or ("jsonl" if path.suffix == ".jsonl" else "text"))


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"`{path}` cannot be read: {error.strerror}") from error


@contextmanager
def _sink(output: str, *, overwrite: bool) -> Iterator[Callable[[bytes], object]]:
    """Yield what takes the lines: a file that appears when all are written, or stdout as they come."""
    if output != STANDARD:
        with new_file(Path(output), replace=overwrite) as stream:
            yield stream.write
        return
    out = sys.stdout.buffer
    yield out.write if _is_file(out) else partial(_write_through, out)
    out.flush()


def _write_through(out: BinaryIO, line: bytes) -> None:
    """Write a line at once: somebody may be waiting for it at the other end."""
    out.write(line)
    out.flush()


def _is_file(out: BinaryIO) -> bool:
    try:
        return stat.S_ISREG(os.fstat(out.fileno()).st_mode)
    except OSError:  # not a real stream
        return False

"""Texts in, JSONL out: one line read, one answered, one written, so that memory does not grow with the input."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Literal, NoReturn

from hrkd.errors import DataError
from hrkd_bench.runtime import Classifier, Prediction

LINE_LIMIT_BYTES = 16_000_000
"""Longest line that is read; a text of this size is a file without line ends."""
_ANSWER = ("label", "probabilities")
_READ = ("text", "text_pair", "domain")


InputFormat = Literal["text", "jsonl"]
"""One text per line, an empty line being an empty text; or one JSON object per line, with `text` and optionally
`text_pair`, `domain`, and anything to be handed through."""
UnknownDomain = Literal["refuse", "mean"]
"""A domain that the bundle does not know is an error, or counts as none: all heads' probabilities are averaged."""


@dataclass(frozen=True, slots=True)
class Record:
    """One text to classify.

    Attributes:
        where: Place in the input, for errors.
        text: The text.
        text_pair: The second text of a pair.
        domain: Its own domain; None where it names none.
        given: The input's object, handed through to the output.
    """

    where: str
    text: str
    text_pair: str | None = None
    domain: str | None = None
    given: dict[str, Any] = field(default_factory=dict)


def given_texts(texts: Sequence[str]) -> Iterator[Record]:
    """Yield texts of the command line."""
    for number, text in enumerate(texts, start=1):
        yield Record(f"text {number}", text, given={"text": text})


def read_records(stream: BinaryIO, name: str, form: InputFormat) -> Iterator[Record]:
    """Yield the records of an input, each as soon as its line is complete.

    Args:
        stream: UTF-8, with or without byte order mark.
        name: What errors call it.
        form: How texts are given.

    Raises:
        DataError: A line is no UTF-8, too long, no JSON, or no record; with its number.
    """
    for number, line in _lines(stream, name):
        where = f"{name} line {number}"
        if form == "text":
            yield Record(where, line, given={"text": line})
        elif line.strip():
            yield _parse(where, line)


def answers(
    classifier: Classifier,
    records: Iterable[Record],
    *,
    domain: str | None = None,
    unknown_domain: UnknownDomain = "refuse",
    with_texts: bool = True,
) -> Iterator[bytes]:
    """Yield one line of JSON for each record.

    Args:
        classifier: A loaded bundle.
        records: Read one at a time.
        domain: Domain of the records that name none.
        unknown_domain: What to do where the bundle does not know a domain.
        with_texts: Whether the texts are repeated.

    Raises:
        DataError: A record cannot be answered; with its place.
    """
    for record in records:
        named = record.domain if record.domain is not None else domain
        named = known_domain(classifier, named, unknown_domain, record.where)
        pairs = None if record.text_pair is None else [record.text_pair]
        try:
            prediction = classifier([record.text], named, text_pairs=pairs)[0]
        except DataError as error:
            raise DataError(f"{record.where}: {error.message}", hint=error.hint) from error
        yield _line(record, prediction, with_texts)


def known_domain(classifier: Classifier, name: str | None, unknown: UnknownDomain, where: str) -> str | None:
    """Return the domain whose head answers; None asks all heads.

    Raises:
        DataError: The bundle does not know the name, and such names are refused.
    """
    if name is None or name in classifier.domain_names:
        return name
    if unknown == "mean":
        return None
    raise DataError(
        f"{where}: domain {name[:60]!a} is unknown to this bundle",
        hint=f"known domains: {', '.join(classifier.domain_names)}; --unknown-domain mean averages all of them",
    )


def _lines(stream: BinaryIO, name: str) -> Iterator[tuple[int, str]]:
    number = 0
    while raw := stream.readline(LINE_LIMIT_BYTES + 1):
        number += 1
        if len(raw) > LINE_LIMIT_BYTES:
            raise DataError(f"{name} line {number} has more than {LINE_LIMIT_BYTES} bytes", hint="one text per line")
        raw = raw.removesuffix(b"\n").removesuffix(b"\r")
        if number == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        try:
            yield number, raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{name} line {number} is not UTF-8: {error}", hint="convert the input to UTF-8") from error


def _parse(where: str, line: str) -> Record:
    try:
        value = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:  # RecursionError: nested too deep
        raise DataError(f"{where} is not JSON: {error}", hint="one JSON object per line, or --format text") from error
    if not isinstance(value, dict) or not isinstance(value.get("text"), str):
        raise DataError(f"{where} is not an object with a `text`", hint='{"text": "...", "domain": "..."}')
    for key in ("text_pair", "domain"):
        if not isinstance(value.get(key), str | None):
            raise DataError(f"{where}: `{key}` is not a text", hint="give a string, or leave it out")
    return Record(where, value["text"], value.get("text_pair"), value.get("domain"), value)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _line(record: Record, prediction: Prediction, with_texts: bool) -> bytes:
    """Return the input's object with the answer; what the answer would replace is kept as ``input_...``."""
    kept = {key: value for key, value in record.given.items() if key not in (*_READ, *_ANSWER)}
    texts = {key: record.given[key] for key in _READ[:2] if key in record.given and with_texts}
    answer = {"label": prediction.label, "domain": prediction.domain, "probabilities": prediction.probabilities}
    for key in (*_ANSWER, "domain"):
        replaced = record.given.get(key)
        if replaced is None or (key == "domain" and replaced == prediction.domain):
            continue
        if f"input_{key}" in kept:
            raise DataError(f"{record.where} has `{key}` and `input_{key}`", hint="rename one of them")
        kept[f"input_{key}"] = replaced
    return _encode(record.where, {**texts, **answer, **kept})


def _encode(where: str, value: dict[str, Any]) -> bytes:
    try:
        try:
            return f"{json.dumps(value, ensure_ascii=False, allow_nan=False)}\n".encode()
        except UnicodeEncodeError:  # half a character, which only an escape can carry
            return f"{json.dumps(value, allow_nan=False)}\n".encode()
    except (ValueError, RecursionError) as error:  # a number beyond the largest, as 1e999
        raise DataError(f"{where} cannot be written as JSON: {error}", hint="change or leave out that value") from error

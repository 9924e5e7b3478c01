"""The bench document as one self-contained HTML page: no scripts, nothing loaded from elsewhere."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hrkd.artifact import write_text
from hrkd.errors import BenchError, MissingExtraError
from hrkd_bench import words
from hrkd_bench.document import BenchDocument, read_document
from hrkd_bench.figures import accuracy_figure, latency_figure, size_figure, training_figure

if TYPE_CHECKING:
    from markupsafe import Markup

_TEMPLATE = "report.html.j2"


def render_report(document: Mapping[str, Any], output: Path, *, context: Mapping[str, Any] | None = None) -> None:
    """Write the report page.

    Args:
        document: A `bench.json` document.
        output: HTML file; replaced if it exists.
        context: What else is known: ``title`` (str), ``recipe`` (YAML text), ``training_curve`` (list of mappings with
            ``step`` and ``average``), ``provenance`` (mapping of names to hashes). All optional.

    Raises:
        ArtifactError: The document is damaged or of another schema.
        BenchError: The context has an unknown key or a damaged training curve.
        MissingExtraError: jinja2 or matplotlib is not installed.
    """
    parsed = read_document(document)
    values = _checked_context(context or {})
    try:
        from jinja2 import Environment, StrictUndefined
        from markupsafe import Markup
    except ImportError as error:
        raise MissingExtraError("the report", "report") from error
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    source = resources.files("hrkd_bench").joinpath("templates", _TEMPLATE).read_text(encoding="utf-8")
    page = environment.from_string(source).render(
        document=parsed,
        words=words,
        command=shlex.join(parsed.command),
        figures=_figures(parsed, values["training_curve"], Markup),
        **values,
    )
    write_text(output, page)


def _figures(parsed: BenchDocument, curve: Sequence[tuple[float, float]], mark: type[Markup]) -> list[dict[str, Any]]:
    """Draw the figures; the SVG writer has escaped every name in them, so they are marked as safe."""
    drawn = [
        ("Accuracy by domain", accuracy_figure(parsed.results, list(parsed.texts.domains))),
        ("How long one text takes", latency_figure(parsed.results)),
        ("Size on disk", size_figure(parsed.results)),
    ]
    if curve:
        drawn.append(("Training of the student", training_figure(curve)))
    return [{"title": title, "svg": mark(svg)} for title, svg in drawn]


def _checked_context(context: Mapping[str, Any]) -> dict[str, Any]:
    defaults: dict[str, Any] = {"title": "hrkd bench", "recipe": None, "training_curve": [], "provenance": {}}
    unknown = set(context) - set(defaults)
    if unknown:
        raise BenchError(f"the report knows no {', '.join(sorted(unknown))}", hint=f"known: {', '.join(defaults)}")
    values = defaults | dict(context)
    try:
        values["training_curve"] = [(float(row["step"]), float(row["average"])) for row in values["training_curve"]]
    except (KeyError, TypeError, ValueError) as error:
        raise BenchError("`training_curve` is not a list of `step` and `average`") from error
    return values

"""The bench document as one self-contained HTML page: no scripts, nothing loaded from elsewhere."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hrkd.artifact import write_text
from hrkd.errors import BenchError, MissingExtraError
from hrkd_bench.claims import words
from hrkd_bench.document.graph import GraphDocument
from hrkd_bench.document.schema import BenchDocument, read_document
from hrkd_bench.report import graph_words
from hrkd_bench.report.details import detail_rows
from hrkd_bench.report.figures import accuracy_figure, latency_figure, size_figure, training_figure
from hrkd_bench.report.graph_figures import ratios_figure, weights_figure
from hrkd_bench.report.trade_off import trade_off_figure

if TYPE_CHECKING:
    from markupsafe import Markup

_TEMPLATE = "report.html.j2"
_TRADE_OFF_CAPTION = (
    "Up and left is better. Lines are 95 % intervals, areas sizes on disk; * is what no other model beats in time, "
    "size and worst domain at once."
)


def render_report(document: Mapping[str, Any], output: Path, *, context: Mapping[str, Any] | None = None) -> None:
    """Write the report page.

    Args:
        document: A `bench.json` document.
        output: HTML file; replaced if it exists.
        context: What else is known: ``title`` (str), ``recipe`` (YAML text), ``training_curve`` (list of mappings with
            ``step`` and ``average``), ``graph`` (GraphDocument), ``graph_problem`` (str: why there is none to show),
            ``provenance`` (mapping of names to hashes), ``plan`` (PlanCheck). All optional.

    Raises:
        ArtifactError: The document is damaged or of another schema.
        BenchError: The context has an unknown key, a damaged training curve, or a graph that was not read.
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
    source = resources.files("hrkd_bench.report").joinpath("templates", _TEMPLATE).read_text(encoding="utf-8")
    page = environment.from_string(source).render(
        document=parsed,
        words=words,
        command=shlex.join(parsed.command),
        figures=_figures(parsed, values["training_curve"], Markup),
        details=detail_rows(parsed),
        graph_section=_graph_section(values["graph"], Markup),
        **values,
    )
    write_text(output, page)


def _figures(parsed: BenchDocument, curve: Sequence[tuple[float, float]], mark: type[Markup]) -> list[dict[str, Any]]:
    """Draw the figures; the SVG writer has escaped every name in them, so they are marked as safe."""
    drawn = [
        ("Time against the worst domain", trade_off_figure(parsed.results), _TRADE_OFF_CAPTION),
        ("Accuracy by domain", accuracy_figure(parsed.results, parsed.worst_first()), ""),
    ]
    if all(result.samples_ms for result in parsed.results):  # a document may be stored without them, to be small
        drawn.append(("How long one text takes", latency_figure(parsed.results), ""))
    drawn.append(("Size on disk", size_figure(parsed.results), ""))
    if curve:
        drawn.append(("Training of the student", training_figure(curve), ""))
    return [{"title": title, "svg": mark(svg), "caption": caption} for title, svg, caption in drawn]


def _graph_section(graph: GraphDocument | None, mark: type[Markup]) -> dict[str, Any] | None:
    """Return the words and figures of the domain-relational graph; words alone where the ratios are fixed."""
    if graph is None:
        return None
    section: dict[str, Any] = {"introduction": graph_words.introduction(graph), "figures": [], "note": None}
    if graph_words.is_fixed(graph):
        return section
    drawn = [("Domain ratios over training", ratios_figure(graph), graph_words.ratios_caption(graph))]
    if graph_words.has_weights(graph):
        drawn.append(("Compare-aggregate weights", weights_figure(graph), graph_words.weights_caption(graph)))
    else:
        section["note"] = graph_words.no_weights_note(graph)
    section["figures"] = [{"title": title, "svg": mark(svg), "caption": caption} for title, svg, caption in drawn]
    return section


def _checked_context(context: Mapping[str, Any]) -> dict[str, Any]:
    defaults: dict[str, Any] = {"title": "hrkd bench", "recipe": None, "training_curve": [], "provenance": {}}
    defaults |= {"graph": None, "graph_problem": None, "plan": None}
    unknown = set(context) - set(defaults)
    if unknown:
        raise BenchError(f"the report knows no {', '.join(sorted(unknown))}", hint=f"known: {', '.join(defaults)}")
    values = defaults | dict(context)
    try:
        values["training_curve"] = [(float(row["step"]), float(row["average"])) for row in values["training_curve"]]
    except (KeyError, TypeError, ValueError) as error:
        raise BenchError("`training_curve` is not a list of `step` and `average`") from error
    if not isinstance(values["graph"], GraphDocument | None):
        raise BenchError("`graph` is not a GraphDocument", hint="read it with hrkd_bench.document.graph.read_graph")
    return values

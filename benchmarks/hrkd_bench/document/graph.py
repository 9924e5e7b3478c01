"""The shape of a student's `graph.json`: what the domain-relational graph said over training. Read without torch.

Keys are only ever added within one schema version; a reader ignores those that it does not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from hrkd.errors import ArtifactError
from hrkd.model_folder import GRAPH, GRAPH_SCHEMA_VERSION

Ratio = Annotated[float, Field(ge=0, le=1)]  # NaN is refused as well
_SUM_ERROR = 1e-3  # the file holds rounded numbers
_HINT = "make the student again with --overwrite to have it in the report"


class GraphDocument(BaseModel):
    """The whole of `graph.json`.

    Attributes:
        schema_version: Of the file.
        variant: Name of the graph in the recipe.
        domains: K names.
        levels: L+1; level 0 is the embedding output.
        steps: The S recorded steps, 1-based, rising.
        domain_ratios: R, (S, L+1, K); sums to 1 over domains.
        hierarchical_ratios: Of the last recorded step, per level l >= 1 the weights (K, l+1) of the levels 0..l; sums
            to 1 over those; empty without a hierarchy.
    """

    model_config = ConfigDict(frozen=True)

    schema_version: Literal[1]
    variant: str
    domains: list[str] = Field(min_length=1)
    levels: PositiveInt
    steps: list[PositiveInt] = Field(min_length=1)
    domain_ratios: list[list[list[Ratio]]]
    hierarchical_ratios: list[list[list[Ratio]]] = []


def read_graph(value: Any) -> GraphDocument:
    """Check a loaded `graph.json`.

    Raises:
        ArtifactError: It is of another schema, or damaged; says where.
    """
    version = value.get("schema_version") if isinstance(value, dict) else None
    if version != GRAPH_SCHEMA_VERSION:
        raise ArtifactError(
            f"`{GRAPH}` has schema version {version!r}, this hrkd reads {GRAPH_SCHEMA_VERSION}",
            hint=f"upgrade hrkd, or {_HINT}",
        )
    try:
        document = GraphDocument.model_validate(value)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise _damaged(f"`{where}`: {problem['msg']}") from error
    _check_names_and_steps(document)
    _check_domain_ratios(document)
    _check_hierarchical_ratios(document)
    return document


def _check_names_and_steps(document: GraphDocument) -> None:
    if len(set(document.domains)) != len(document.domains):
        raise _damaged("`domains` names one twice")
    for earlier, later in pairwise(document.steps):
        if later <= earlier:
            raise _damaged(f"`steps` has {later} after {earlier}")


def _check_domain_ratios(document: GraphDocument) -> None:
    _check_length("domain_ratios", document.domain_ratios, len(document.steps), "one per step")
    for number, step in enumerate(document.domain_ratios):
        where = f"domain_ratios.{number}"
        _check_length(where, step, document.levels, "one per level")
        for level, ratios in enumerate(step):
            _check_weights(f"{where}.{level}", ratios, len(document.domains), "one per domain")


def _check_hierarchical_ratios(document: GraphDocument) -> None:
    if not document.hierarchical_ratios:
        return
    _check_length("hierarchical_ratios", document.hierarchical_ratios, document.levels - 1, "one per level above 0")
    for level, rows in enumerate(document.hierarchical_ratios, start=1):
        where = f"hierarchical_ratios.{level - 1}"
        _check_length(where, rows, len(document.domains), "one per domain")
        for number, row in enumerate(rows):
            _check_weights(f"{where}.{number}", row, level + 1, f"levels 0 to {level}")


def _check_weights(where: str, weights: Sequence[float], length: int, what: str) -> None:
    _check_length(where, weights, length, what)
    if abs(sum(weights) - 1) > _SUM_ERROR:
        raise _damaged(f"`{where}` sums to {sum(weights):.4g}, not to 1")


def _check_length(where: str, values: Sequence[Any], length: int, what: str) -> None:
    if len(values) != length:
        raise _damaged(f"`{where}` has {len(values)} entries, {length} expected ({what})")


def _damaged(problem: str) -> ArtifactError:
    return ArtifactError(f"`{GRAPH}` is damaged: {problem}", hint=_HINT)

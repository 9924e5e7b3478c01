"""What `hrkd plan` computes without building anything: shapes, grids, fits, and the choice within a budget."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hrkd.errors import BudgetError
from hrkd.plan_shape import PRECISIONS, Parameters, Shape
from hrkd.recipe import PlanConfig, Quantization
from hrkd_bench.document.schema import Estimate, read_document
from hrkd_bench.gate.budget import parse_budget
from hrkd_bench.plan.document import PlannedShape, PlannedValue, closest_miss, planned_limits, proposals, within
from hrkd_bench.plan.fit import fit
from hrkd_bench.plan.grid import choose_measured, default_grid, parse_grid
from hrkd_bench.plan.truth import prediction_against_truth

TEACHER = Shape(6, 384, 12, 1536, precision="int8")


def test_every_way_of_quantising_can_be_planned() -> None:
    """Prevents a new way of quantising that `hrkd plan` refuses without a reason."""
    assert set(PRECISIONS) == {"fp32", *(way.value for way in Quantization if way is not Quantization.AUTO)}


def test_operations_follow_the_exported_graph() -> None:
    """Prevents counting a last layer that is computed for one token as if it were computed for all."""
    one = Shape(1, 4, 1, 8)
    attention = 2 * 2 * 5 * 4  # scores and context of one query, multiplication and addition
    keys_and_values, rest = 5 * 2 * 2 * 4 * 4, 2 * 2 * 4 * 4 + 2 * 2 * 4 * 8
    assert one.operations(5) == keys_and_values + rest + attention + 2 * 4 * 4
    full = 5 * (4 * 2 * 4 * 4 + 2 * 2 * 4 * 8) + 5 * attention
    assert Shape(2, 4, 1, 8).operations(5) == one.operations(5) + full


def test_bytes_follow_the_precision() -> None:
    """Prevents an estimate of size that forgets the tables, which are most of a small student."""
    parameters = Parameters(tables=6400, matrices=3200, vectors=10, channels=2)
    assert parameters.weight_bytes("fp32") == 4 * (6400 + 3200 + 10)
    assert parameters.weight_bytes("int8") == 6400 + 3200 + 40 + 10
    assert parameters.weight_bytes("int8-int4-tables") == 3200 + 400 + 3200 + 40 + 10


def test_names_are_unique() -> None:
    """Prevents two shapes of a grid that share one measurement."""
    grid = parse_grid(
        ["width=384,384:6:1536,384:12:1200", "vocab=full,8000", "precision=int8,fp32"],
        default_grid(TEACHER, 30522, can_cut=True),
        TEACHER,
    )
    shapes = grid.shapes()
    assert len(shapes) == 4 * 3 * 2 * 2
    assert len({shape.name for shape in shapes}) == len(shapes)
    assert Shape(3, 384, 12, 1536, None, "int8").name == "3x384-int8"


@pytest.mark.parametrize(
    ("teacher", "widths"),
    [(TEACHER, [128, 256, 384]), (Shape(12, 768, 12, 3072), [256, 512, 768]), (Shape(2, 30, 5, 60), [12, 18, 30])],
)
def test_the_default_grid_is_below_the_teacher_with_its_head_size(teacher: Shape, widths: list[int]) -> None:
    """Prevents shapes that cannot be cut out of the teacher."""
    shapes = default_grid(teacher, 30522, can_cut=False).shapes()
    assert sorted({shape.hidden_size for shape in shapes}) == widths
    assert max(shape.layers for shape in shapes) == teacher.layers
    head = teacher.hidden_size // teacher.attention_heads
    assert all(shape.hidden_size == head * shape.attention_heads for shape in shapes)
    assert {shape.vocabulary for shape in shapes} == {None}


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("layer=2", "did you mean `layers`"),
        ("layers", "no values"),
        ("layers=0", "above 0"),
        ("layers=two", "above 0"),
        ("width=100:7:400", "whole heads"),
        ("width=100:5", "HIDDEN:HEADS"),
        ("vocab=all", "above 0"),
        ("precision=int7", "unknown"),
        (f"layers={','.join(map(str, range(1, 400)))}", "shapes"),
    ],
)
def test_a_grid_that_cannot_be_read_is_refused(entry: str, words: str) -> None:
    """Prevents an axis that is misspelt and silently stays as it was."""
    with pytest.raises(BudgetError) as caught:
        parse_grid([entry], default_grid(TEACHER, 30522, can_cut=True), TEACHER)
    assert words in str(caught.value)


def test_an_axis_that_stands_twice_is_refused() -> None:
    """Prevents half of the wanted shapes from being dropped."""
    with pytest.raises(BudgetError, match="stands twice"):
        parse_grid(["layers=2", "layers=3"], default_grid(TEACHER, 30522, can_cut=True), TEACHER)


def test_the_measured_shapes_span_the_grid() -> None:
    """Prevents predictions beyond the cheapest or costliest measured shape, and one encoder that is measured twice."""
    shapes = default_grid(TEACHER, 30522, can_cut=True).shapes()
    chosen = choose_measured(shapes, 7, 23)
    operations = [shape.operations(23) for shape in shapes]
    assert min(operations) == min(shape.operations(23) for shape in chosen)
    assert max(operations) == max(shape.operations(23) for shape in chosen)
    assert len({shape.encoder for shape in chosen}) == len(chosen) == 7
    assert {shape.precision for shape in chosen} == {"int8"}  # smaller tables are not slower


def law(noise: float) -> tuple[list[tuple[float, float, float]], list[float]]:
    """Return shapes that follow 0.1 + 0.004 x operations + 0.02 x layers, with noise."""
    shapes = [Shape(layers, width, width // 32, 4 * width) for layers in (2, 3, 4, 6) for width in (128, 256, 384)]
    features = [(1e-6 * shape.operations(23), 1.0, float(shape.layers)) for shape in shapes]
    factors = np.random.default_rng(0).normal(1, noise, len(shapes))
    return features, [f * (0.1 + 0.004 * row[0] + 0.02 * row[2]) for f, row in zip(factors, features, strict=True)]


def test_a_law_is_found_again() -> None:
    """Prevents a fit that passes through the measured shapes and misses all others."""
    features, values = law(0.0)
    fitted = fit(features[::2], values[::2])
    assert fitted is not None
    np.testing.assert_allclose(fitted.coefficients, [0.004, 0.1, 0.02], rtol=1e-6)
    assert fitted.largest_error < 1e-6
    assert [fitted.predict(row).value for row in features] == pytest.approx(values)


def test_bounds_cover_what_noise_does() -> None:
    """Prevents bounds that come from the fitted shapes themselves, which are always near."""
    features, values = law(0.05)
    rest = range(1, len(features), 2)
    fitted = fit(features[::2], values[::2])
    assert fitted is not None
    assert fitted.largest_error > 0.01
    estimates = [fitted.predict(features[index]) for index in rest]
    assert sum(bound.low <= values[index] <= bound.high for bound, index in zip(estimates, rest, strict=True)) >= 5
    assert all(bound.low < bound.value < bound.high for bound in estimates)


def test_a_measured_shape_is_predicted_from_the_others_alone() -> None:
    """Prevents a prediction that already knows its answer from being shown beside it."""
    features, values = law(0.0)
    values[4] *= 2
    fitted = fit(features, values)
    assert fitted is not None
    assert fitted.predict_measured(4, features[4]).value == pytest.approx(values[4] / 2)


def test_no_coefficient_is_negative() -> None:
    """Prevents a law by which a deeper student is faster."""
    fitted = fit([(1.0, 1.0, 6.0), (2.0, 1.0, 4.0), (3.0, 1.0, 2.0), (4.0, 1.0, 1.0), (5.0, 1.0, 0.5)], [1, 3, 5, 7, 9])
    assert fitted is not None
    assert (fitted.coefficients >= 0).all()


def test_too_few_shapes_predict_nothing() -> None:
    """Prevents bounds that three points cannot give."""
    assert fit([(1.0, 1.0, 1.0)] * 3, [1.0, 2.0, 3.0]) is None


def planned(
    name: str, layers: int, p95: float, size: float, *, pieces: int = 100, measured: bool = False
) -> PlannedShape:
    def value(number: float) -> PlannedValue:
        if measured:
            return PlannedValue(measured=number)
        return PlannedValue(predicted=Estimate(value=number, low=number, high=number))

    return PlannedShape(
        name=name,
        layers=layers,
        hidden_size=32,
        attention_heads=1,
        intermediate_size=128,
        precision="int8",
        vocabulary=None,
        encoder_weights=layers * 1000,
        pieces=pieces,
        rows=pieces,
        parameters=layers * 1000,
        values={"p95": value(p95), "size": value(size), "rss": PlannedValue()},
    )


def test_the_largest_within_the_budget_comes_first() -> None:
    """Prevents a plan that proposes a smaller student than the device could run."""
    shapes = [planned("small", 1, 1, 1e6), planned("cut", 3, 3, 3e6, pieces=50), planned("whole", 3, 3, 4e6)]
    shapes += [planned("slow", 4, 9, 4e6), planned("big", 4, 4, 9e6)]
    limits = planned_limits(parse_budget("p95=5ms,size=5MB,worst-domain-drop=1"))
    assert [shape.name for shape in within(shapes, limits)] == ["whole", "cut", "small"]
    assert [shape.name for shape in proposals(shapes, limits, 2)] == ["whole", "small"]  # one variant of each encoder


def test_an_unknown_number_does_not_fit() -> None:
    """Prevents a limit on what was not measured from being held by silence."""
    limits = planned_limits(parse_budget("rss=1GB"))
    assert within([planned("small", 1, 1, 1e6)], limits) == []


def test_a_disturbed_time_does_not_fit() -> None:
    """Prevents a student from being chosen by a time that stands under INVALID; its size is known all the same."""
    shape = planned("small", 1, 1, 1e6, measured=True).model_copy(update={"valid": False})
    assert within([shape], planned_limits(parse_budget("p95=5ms,size=5MB"))) == []
    assert within([shape], planned_limits(parse_budget("size=5MB"))) == [shape]


def test_a_measurement_overrules_its_prediction() -> None:
    """Prevents a shape from staying in the plan after its measurement missed the budget."""
    shape = planned("small", 1, 1, 1e6)
    wrong = PlannedValue(predicted=shape.values["p95"].predicted, measured=6.0)
    shape = shape.model_copy(update={"values": shape.values | {"p95": wrong}})
    assert within([shape], planned_limits(parse_budget("p95=5ms"))) == []


def test_the_closest_miss_is_named() -> None:
    """Prevents an impossible budget whose message names a limit that is not the problem."""
    shapes = [planned("small", 1, 6, 1e6), planned("large", 3, 12, 9e6)]
    shape, metric, share = closest_miss(shapes, planned_limits(parse_budget("p95=5ms,size=5MB")))
    assert (shape.name, metric) == ("small", "p95")
    assert share == pytest.approx(0.2)


def test_the_truth_is_held_against_the_prediction(document: dict[str, Any]) -> None:
    """Prevents a report that compares the plan with the teacher, or with another machine without saying so."""
    student = document["results"][1]
    student |= {"size_bytes": 1000, "valid": True, "invalid_reasons": []}
    student["latency_ms"]["end_to_end"] |= {"p50": 2.0, "p99": None}
    number = {"predicted": 2.2, "low": 2.0, "high": 2.5, "untrained": 1.9}
    plan = PlanConfig.model_validate(
        {
            "budget": "p50=3ms",
            "shape": "3x384-int8",
            "processor": document["environment"]["cpu"],
            "threads": student["threads"],
            "numbers": {"p50": number, "p99": number, "size": number | {"predicted": 900.0}, "drop": number},
        }
    )
    check = prediction_against_truth(plan, read_document(document))
    assert check is not None
    assert check.caveats == []
    found = {expectation.metric: expectation for expectation in check.expectations}
    assert found["p50"].error == pytest.approx(0.1)
    assert found["p50"].untrained_error == pytest.approx(-0.05)
    assert found["p99"].error is None
    assert found["drop"].truth is None  # nothing that a plan can know, so no other number may stand in for it
    assert found["size"].error == pytest.approx(-0.1)
    assert all(isinstance(cell, str) for cell in found["p99"].cells())
    other = prediction_against_truth(
        plan.model_copy(update={"processor": "another", "threads": 9}), read_document(document)
    )
    assert other is not None
    assert len(other.caveats) == 2

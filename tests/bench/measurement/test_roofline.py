"""Shares of the processor's rate: what is counted, over what is measured."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hrkd.artifact import write_json
from hrkd.bundle import EncoderShape, read_manifest, write_manifest
from hrkd.errors import BenchError
from hrkd.plan_shape import Shape
from hrkd_bench.document.schema import read_document
from hrkd_bench.measurement import gemm
from hrkd_bench.measurement.roofline import Rates, add_roofline, encoder_of, measure_rates, shares
from tiny_bundle import make_bundle

STUDENT = Shape(3, 384, 12, 1536)


def test_rates_are_measured_here() -> None:
    """Prevents a rate from a table: both products run, in another process, and none is slower than by hand."""
    rates = measure_rates(seconds=0.1)
    assert 10**8 < rates.fp32 < 10**14
    assert 10**8 < rates.int8 < 10**14


def test_a_product_that_cannot_be_run_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevents a share of a rate that was never measured."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(BenchError, match="rates could not be measured"):
        measure_rates(seconds=0.1)


def test_the_shipped_graphs_are_what_the_script_makes() -> None:
    """Prevents a measured product of another size or kind than the one whose operations are counted."""
    import onnx

    for kind, operator in (("fp32", "MatMul"), ("int8", "MatMulInteger")):
        graph = onnx.load(gemm.GRAPHS / f"{kind}.onnx").graph
        assert [node.op_type for node in graph.node] == ["Tile", operator]
        sizes = [dimension.dim_value for dimension in graph.input[0].type.tensor_type.shape.dim]
        repeats = onnx.numpy_helper.to_array(graph.initializer[1])
        assert sizes == [gemm.SIZE, gemm.SIZE] == [repeats[0], graph.initializer[0].dims[1]]
    assert gemm.OPERATIONS == 2 * 512 * 512 * 512


def test_shares_by_hand() -> None:
    """Prevents milliseconds that are taken for seconds, the wrong roof, and threads that are forgotten."""
    rates = Rates(fp32=1e11, int8=4e11)
    operations = STUDENT.operations(32)
    assert operations == pytest.approx(0.25e9, rel=0.05)
    (share,) = shares(STUDENT, "int8", [(32, 2.0)], rates, 1)
    assert share.share == pytest.approx(operations / 0.002 / 4e11)
    assert (share.roof, share.tokens) == ("int8", 32)
    assert shares(STUDENT, "fp32", [(32, 2.0)], rates, 1)[0].share == pytest.approx(4 * share.share)
    assert shares(STUDENT, "int8", [(32, 2.0)], rates, 2)[0].share == pytest.approx(share.share / 2)
    assert shares(STUDENT, "fp16", [(32, 2.0)], rates, 1) == []


def test_the_encoder_is_read_from_bundle_and_model_folder(tmp_path: Path) -> None:
    """Prevents operations of a guessed model where the folder does not say its size."""
    folder = tmp_path / "bundle"
    make_bundle(folder)
    assert encoder_of(folder) is None
    encoder = EncoderShape(layers=3, hidden_size=384, attention_heads=12, intermediate_size=1536)
    write_manifest(folder, replace(read_manifest(folder / "manifest.json"), encoder=encoder))
    assert encoder_of(folder) == STUDENT
    distilbert = {"n_layers": 3, "dim": 384, "n_heads": 12, "hidden_dim": 1536}
    write_json(tmp_path / "config.json", distilbert)
    assert encoder_of(tmp_path) == STUDENT
    write_json(tmp_path / "config.json", {"n_layers": 3})
    assert encoder_of(tmp_path) is None


def test_the_document_says_the_shares(document: dict[str, Any], tmp_path: Path) -> None:
    """Prevents shares of one model under another one's name."""
    write_json(
        tmp_path / "config.json",
        {"num_hidden_layers": 3, "hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536},
    )
    found = read_document(add_roofline(document, [None, tmp_path], Rates(1e11, 4e11)))
    assert found.roofline is not None
    assert found.roofline.int8_per_s == 4e11
    assert found.results[0].roofline == ()
    lengths = found.results[1].by_length
    assert lengths
    assert [share.tokens for share in found.results[1].roofline] == [entry.tokens for entry in lengths]
    first = found.results[1].roofline[0]
    milliseconds = lengths[0].p50.value
    assert first.share == pytest.approx(STUDENT.operations(lengths[0].tokens) / (milliseconds / 1000) / 4e11)

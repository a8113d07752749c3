"""Token tables in every form: what the graph gives, what it weighs, and that no table is widened as a whole."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from made_models import STATIC, TRANSFORMER, made_model, made_texts
from made_tables import made_table
from onnx import numpy_helper

from nearfar.errors import RunError
from nearfar.frontend import TextFrontend
from nearfar.learn.compress.codebook import codebook_codes, four_bit_codes
from nearfar.learn.compress.model import Form, Format
from nearfar.learn.export import export_graph
from nearfar.learn.export.token_table import table_graph
from nearfar.learn.methods.dual_encoder import DualEncoder

Floats = npt.NDArray[np.float32]
FORMATS: tuple[Format, ...] = ("none", "int8", "int4", "codebook")


def batch(count: int, *, seed: int = 1) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    mask = (np.arange(12) < rng.integers(1, 13, (40, 1))).astype(np.int64)
    return rng.integers(0, count, (40, 12)), mask


def run(graph: bytes, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]) -> Floats:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    (found,) = session.run(["embedding"], {"ids": ids, "mask": mask})
    embeddings: Floats = found
    return embeddings


def summed(table: Floats, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64], *, damped: bool) -> Floats:
    """The formula: the rows of a text, f occurrences of one weighing f or its root, at unit length."""
    out = np.zeros((len(ids), table.shape[1]))
    for row, (tokens, present) in enumerate(zip(ids, mask, strict=True)):
        kinds, counts = np.unique(tokens[present == 1], return_counts=True)
        out[row] = (table[kinds].astype(np.float64) * (np.sqrt(counts) if damped else counts)[:, None]).sum(axis=0)
    lengths = np.linalg.norm(out, axis=1, keepdims=True)
    return np.divide(out, lengths, out=out, where=lengths > 0).astype(np.float32)


@pytest.mark.parametrize("damped", [True, False])
def test_float_tables_give_the_formula(damped: bool) -> None:
    table = made_table(60)
    ids, mask = batch(60)
    found = run(table_graph(table, damped=damped, form=Form()), ids, mask)
    np.testing.assert_allclose(found, summed(table, ids, mask, damped=damped), atol=1e-5)


@pytest.mark.parametrize("dim", [32, 30, 9])
@pytest.mark.parametrize(
    ("format_", "floor", "share"), [("int8", 0.9999, 0.3), ("int4", 0.99, 0.2), ("codebook", 0.93, 0.2)]
)
def test_few_bits_stay_close_and_weigh_little(format_: Format, floor: float, share: float, dim: int) -> None:
    table = made_table(6000, dim)
    ids, mask = batch(len(table))
    graphs = {name: table_graph(table, damped=True, form=Form(format=name)) for name in ("none", format_)}  # type: ignore[arg-type]
    assert len(graphs[format_]) < (share + 0.2 * (dim == 9)) * len(graphs["none"])
    cosines = (run(graphs[format_], ids, mask) * run(graphs["none"], ids, mask)).sum(axis=1)
    assert cosines.mean() > floor


@pytest.mark.parametrize("format_", FORMATS)
def test_graphs_do_exactly_what_the_codes_stand_for(format_: Format) -> None:
    table, weights = made_table(), np.ones(1500, np.float32)
    ids, mask = batch(len(table))
    stands_for = {"int4": four_bit_codes, "codebook": codebook_codes}
    expected = stands_for[format_](table, weights).table() if format_ in stands_for else table
    found = run(table_graph(table, damped=True, form=Form(format=format_)), ids, mask)
    np.testing.assert_allclose(
        found, summed(expected, ids, mask, damped=True), atol=1e-5 if format_ != "int8" else 0.01
    )


@pytest.mark.parametrize("format_", FORMATS)
def test_a_table_of_low_rank_loses_nothing_by_its_rank(format_: Format) -> None:
    rng = np.random.default_rng(2)
    table = (rng.standard_normal((3000, 8)) @ rng.standard_normal((8, 64))).astype(np.float32)
    ids, mask = batch(len(table))
    whole, factored = (table_graph(table, damped=True, form=Form(format=format_, rank=rank)) for rank in (None, 8))
    assert len(factored) < 0.45 * len(whole)
    expected = summed(table, ids, mask, damped=True)
    floor = {"none": 0.99999, "int8": 0.999, "int4": 0.98, "codebook": 0.88}[format_]
    assert (run(factored, ids, mask) * expected).sum(axis=1).min() > floor


@pytest.mark.parametrize("form", [Form(rank=6), Form(format="codebook")])
def test_what_is_common_comes_out_closer(form: Form) -> None:
    table = made_table(3000)
    common = np.arange(len(table)) % 20 == 0
    ids = np.random.default_rng(3).choice(np.flatnonzero(common), (40, 12))
    mask = np.ones_like(ids)
    expected = summed(table, ids, mask, damped=True)
    plain, weighted = (
        (run(table_graph(table, damped=True, form=form, frequency=frequency), ids, mask) * expected).sum(axis=1).mean()
        for frequency in (None, np.where(common, 10_000, 0))
    )
    assert weighted > plain + 0.005


def test_short_rows_beside_very_long_ones_keep_their_direction() -> None:
    table = made_table(400)
    table[:200] *= 1e-6
    ids = np.arange(200)[:, None]
    for format_, floor in (("int8", 0.9999), ("int4", 0.98), ("codebook", 0.8)):
        found = run(table_graph(table, damped=True, form=Form(format=format_)), ids, np.ones_like(ids))
        expected = summed(table, ids, np.ones_like(ids), damped=True)
        assert (found * expected).sum(axis=1)[expected.any(axis=1)].mean() > floor


def test_tables_that_are_broken_are_refused() -> None:
    table = made_table(50)
    table[3, 1] = np.nan
    with pytest.raises(RunError, match="train it again"):
        table_graph(table, damped=True, form=Form(format="int8"))


@pytest.mark.parametrize("format_", ["int8", "int4", "codebook"])
def test_a_session_never_holds_the_table_in_floats(tmp_path: Path, format_: Format) -> None:
    rng = np.random.default_rng(0)
    count, dim = 240_000, 64
    table = rng.standard_normal((count, dim), np.float32)
    graph = tmp_path / "graph.onnx"
    graph.write_bytes(table_graph(table, damped=True, form=Form(format=format_)))
    script = f"""
import numpy, onnxruntime, resource
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
session = onnxruntime.InferenceSession({str(graph)!r}, providers=["CPUExecutionProvider"])
ids = numpy.arange(32).reshape(4, 8)
session.run(None, {{"ids": ids, "mask": numpy.ones_like(ids)}})
print(peak() - before)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(result.stdout) < 2.5 * graph.stat().st_size + 15e6  # the floats alone would be 61 MB
    assert count * dim * 4 > 61e6


@pytest.fixture(scope="module")
def transformer() -> tuple[DualEncoder, TextFrontend, bytes]:
    method, frontend = made_model(TRANSFORMER)
    return method, frontend, export_graph(method.query_tower, dim=32, quantise="none")


@pytest.mark.parametrize(("format_", "floor"), [("int8", 0.99), ("int4", 0.98), ("codebook", 0.9)])
def test_the_tokens_of_a_transformer_are_stored_in_the_form(
    transformer: tuple[DualEncoder, TextFrontend, bytes], format_: Format, floor: float
) -> None:
    method, frontend, whole = transformer
    form = Form(format=format_, rank=8)  # the rank is for static towers
    small = export_graph(method.query_tower, dim=32, quantise="none", form=form)
    model = onnx.load_from_string(small)
    shape = (frontend.vocab_size, 32)
    tensors = model.graph.initializer
    assert not [t.name for t in tensors if tuple(t.dims) == shape and t.data_type == onnx.TensorProto.FLOAT]
    tables = [numpy_helper.to_array(t) for t in tensors if t.name == "token_table/table"]
    width = {"int8": 32, "int4": 16, "codebook": 8}[format_]
    assert [t.shape for t in tables] == [(frontend.vocab_size, width)]
    ids, mask = frontend.pad(frontend.encode(made_texts(40), "document"))
    assert (run(small, ids, mask) * run(whole, ids, mask)).sum(axis=1).mean() > floor


def test_one_long_row_does_not_coarsen_the_others(transformer: tuple[DualEncoder, TextFrontend, bytes]) -> None:
    method, frontend, whole = transformer
    tower: Any = copy.deepcopy(method.query_tower)
    tower.tokens.weight.data[5] *= 100  # with one scale for the whole table the cosine falls to 0.983
    ids, mask = frontend.pad([row[row != 5] for row in frontend.encode(made_texts(40), "document")])
    small = export_graph(tower, dim=32, quantise="int8")
    assert (run(small, ids, mask) * run(whole, ids, mask)).sum(axis=1).mean() > 0.999


def test_a_static_encoder_takes_a_rank() -> None:
    method, frontend = made_model(STATIC)
    whole, factored = (
        export_graph(method.query_tower, dim=32, quantise="none", form=Form(format="int8", rank=rank))
        for rank in (None, 8)
    )
    assert len(factored) < 0.7 * len(whole)
    ids, mask = frontend.pad(frontend.encode(made_texts(4), "query"))
    assert run(factored, ids, mask).shape == (4, 32)

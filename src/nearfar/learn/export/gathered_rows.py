"""Rows of a token table as nodes of an ONNX graph, in few bits where asked for: gathered first, widened afterwards.

No node sees the whole table, neither at run time nor while a session opens (onnxruntime computes what depends on no input
then: a table that is widened and then gathered would lie in memory as floats).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from nearfar.errors import RunError
from nearfar.index.quantise import quantise_int8
from nearfar.learn.compress.codebook import Codes, codebook_codes, four_bit_codes
from nearfar.learn.compress.low_rank import low_rank
from nearfar.learn.compress.model import Form

Floats = npt.NDArray[np.float32]


class Parts:
    """Nodes and constants of a graph in the making.

    Args:
        prefix: begins every name, so that a graph may already have nodes of its own.
    """

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: npt.NDArray[Any]) -> str:
        """Add a constant and return its name."""
        self.constants.append(numpy_helper.from_array(value, self.prefix + name))
        return self.prefix + name

    def node(self, operation: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        name = self.prefix + output
        self.nodes.append(helper.make_node(operation, inputs, [name], name=name, **attributes))
        return name


@dataclass(frozen=True)
class GatheredRows:
    """Names of what a graph knows of the tokens of a batch; the vector of a token is `rows * scale @ basis`.

    Attributes:
        rows: float32 (n, L, r).
        scale: float32 (n, L); None stands for 1.
        basis: float32 (r, d); None stands for the identity.
    """

    rows: str
    scale: str | None = None
    basis: str | None = None


def gathered_rows(
    parts: Parts, ids: str, table: Floats, form: Form, frequency: npt.NDArray[Any] | None = None
) -> GatheredRows:
    """Add the nodes that look tokens up in a table.

    Args:
        parts: where nodes and constants go.
        ids: name of the ids, int64 (n, L).
        table: (v, d).
        form: format and rank of the table.
        frequency: (v,) how many texts have each token: what is common comes out closer.

    Raises:
        RunError: the table is not finite, or the rank is not below d.
    """
    if not np.isfinite(table).all():
        raise RunError("the token table holds values that are not finite numbers: the model is broken, train it again")
    basis = None
    if form.rank is not None:
        table, axes = low_rank(table, form.rank, frequency)
        basis = _basis(parts, axes, in_int8=form.format != "none")
    table = np.ascontiguousarray(table, np.float32)
    if form.format == "none":
        return GatheredRows(parts.node("Gather", [parts.constant("table", table), ids], "vectors"), None, basis)
    if form.format == "int8":
        codes, scales = quantise_int8(table)
        found = parts.node("Gather", [parts.constant("table", codes), ids], "codes")
        rows = parts.node("Cast", [found], "vectors", to=TensorProto.FLOAT)
        scale = parts.node("Gather", [parts.constant("scales", scales), ids], "token_scales")
        return GatheredRows(rows, scale, basis)
    weights = _weights(len(table), frequency)
    coded = four_bit_codes(table, weights) if form.format == "int4" else codebook_codes(table, weights)
    return GatheredRows(*_looked_up(parts, ids, coded), basis)


def _basis(parts: Parts, axes: Floats, *, in_int8: bool) -> str:
    """The matrix behind the sum; small, so it may be widened as a whole."""
    if not in_int8:
        return parts.constant("basis", axes)
    codes, scales = quantise_int8(axes)
    wide = parts.node("Cast", [parts.constant("basis_codes", codes)], "basis_wide", to=TensorProto.FLOAT)
    return parts.node("Mul", [wide, parts.constant("basis_scales", scales[:, None])], "basis")


def _looked_up(parts: Parts, ids: str, coded: Codes) -> tuple[str, str]:
    """Names of the numbers (n, L, d) that codes stand for, and of the scales (n, L) of their rows."""
    count, entries, width = coded.books.shape
    found = parts.node("Gather", [parts.constant("table", coded.codes), ids], "codes")
    places = parts.node("Cast", [found], "places", to=TensorProto.INT32)
    if count > 1:
        first = parts.constant("first_places", (np.arange(count) * entries).astype(np.int32))
        places = parts.node("Add", [places, first], "places_in_books")
    books = parts.constant("books", coded.books.reshape(-1, width))
    narrow = parts.node("Gather", [books, places], "entries")
    wide = parts.node("Cast", [narrow], "entries_wide", to=TensorProto.FLOAT)
    joined = coded.codes.shape[1] * width
    rows = parts.node("Reshape", [wide, parts.constant("row_shape", np.array([0, 0, joined], np.int64))], "vectors")
    if joined > coded.dim:
        ends = [
            parts.constant(name, np.array([at], np.int64))
            for name, at in (("from", 0), ("to", coded.dim), ("along", 2))
        ]
        rows = parts.node("Slice", [rows, *ends], "vectors_cut")
    half = parts.node("Gather", [parts.constant("scales", coded.scales), ids], "relative_half")
    relative = parts.node("Cast", [half], "relative", to=TensorProto.FLOAT)
    unit = parts.constant("unit", np.array(coded.unit, np.float32))
    return rows, parts.node("Mul", [relative, unit], "token_scales")


def _weights(count: int, frequency: npt.NDArray[Any] | None) -> Floats:
    """What an error in each row counts, (v,): the root of how many texts have its token.

    A common word is in many sums, but it is the rare ones that tell texts apart.
    """
    return np.ones(count, np.float32) if frequency is None else np.sqrt(frequency + 1.0).astype(np.float32)

"""An ONNX encoder that other people have exported, rewritten to the graph that a bundle ships."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer

from nearfar.embedder import Item, Side
from nearfar.errors import RunError
from nearfar.frontend import TextFrontend
from nearfar.learn.foreign_frontend import read_tokenizer, text_frontend
from nearfar.learn.model_files import ModelFiles
from nearfar.learn.reason import first_line
from nearfar.learn.sentence_layout import SentenceLayout

_IDS, _MASK, _TYPES = "input_ids", "attention_mask", "token_type_ids"
_OURS = ("ids", "mask", "embedding")
_SENTENCE = ("sentence_embedding", "sentence_embeddings")  # as sentence-transformers and optimum call it
_INTEGERS: dict[int, Any] = {TensorProto.INT32: np.int32, TensorProto.INT64: np.int64}
_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE}
_QUANTISED = {"MatMulInteger", "DynamicQuantizeLinear", "DequantizeLinear", "QLinearMatMul", "DynamicQuantizeMatMul"}
_LARGEST = 2**31 - 1  # bytes of one protobuf message


class ForeignGraph:
    """An encoder in somebody's ONNX file. It is also an `Embedder`, through the file as it came.

    Args:
        model: with its external data loaded.
        layout: how its token vectors are pooled, if it does not do so itself.
        tokenizer: content of its `tokenizer.json`.
        source: for messages.

    Raises:
        RunError: it takes or gives something else than an encoder does.
    """

    def __init__(self, model: onnx.ModelProto, layout: SentenceLayout, tokenizer: bytes, source: str) -> None:
        self._model, self._source = model, source
        self.frontend: TextFrontend = text_frontend(tokenizer, layout, source)
        self._inputs = _inputs(model, source)
        self._session = _session(model, source)
        self._tokenizer = Tokenizer.from_buffer(tokenizer)
        self._tokenizer.no_padding()
        trial = self._run([output.name for output in self._session.get_outputs()], "a")
        self._output = _choose_output(trial, source)
        self.pools = trial[self._output].ndim == 2
        """Whether the graph gives one vector a text by itself."""
        self.layout = replace(layout, pooling=None) if self.pools else layout.pooled()
        if layout.after and not self.pools:
            raise RunError(
                f"{source}: gives vectors of tokens, and has Dense modules after pooling, which are not in the graph: give the "
                "folder with model.safetensors, or a graph that gives sentence_embedding"
            )
        self.quantised = any(node.op_type in _QUANTISED for node in model.graph.node)
        """Whether its weights are integers already."""
        self._tokenizer.enable_truncation(self.layout.max_tokens)
        self.dim = int(trial[self._output].shape[-1])

    @classmethod
    def load(cls, files: ModelFiles, layout: SentenceLayout) -> Self:
        """Load the graph, with weights that lie beside it, and its tokenizer.

        Raises:
            RunError: the graph cannot be read, has no tokenizer, or is no encoder.
        """
        assert files.graph is not None
        tokenizer = read_tokenizer([files.root, layout.transformer, files.graph.parent], files.source)
        return cls(_loaded(files.graph), layout, tokenizer, files.source)

    def export(self) -> onnx.ModelProto:
        """The graph that ships: inputs `ids` and `mask`, int64 (n, L); output `embedding`, float32 (n, d), unit length."""
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        graph = model.graph
        _make_room(graph)
        before, nothing = _feeding(self._inputs)
        after, constants = _pooling(_out_of_the_way(self._output), self.layout.pooling)
        nodes = [*before, *graph.node, *after]
        del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
        graph.node.extend(nodes)
        graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in (nothing | constants).items())
        graph.input.extend(
            helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "L"]) for name in ("ids", "mask")
        )
        graph.output.append(helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", self.dim]))
        _forget_where_it_was_made(model)
        return model

    def embed(self, items: Sequence[Item], side: Side = "document") -> npt.NDArray[np.float32]:
        """Embed texts through the graph as it came, one at a time and so without padding.

        Args:
            items: n texts that are not without any token.
            side: whose prompt.

        Returns:
            float32 (n, d), rows of unit length.

        Raises:
            RunError: the graph fails on a text.
        """
        rows = []
        for text in items:
            whole = self.layout.prompts[side] + (text.lower() if self.layout.lowercase else text)
            found = self._run([self._output], whole)[self._output]
            row = found[0].astype(np.float64)
            if not self.pools:
                row = row[0] if self.layout.pooling == "cls" else row.mean(axis=0)
            rows.append(row / max(float(np.linalg.norm(row)), 1e-12))
        return np.array(rows, dtype=np.float32)

    def _run(self, outputs: Sequence[str], text: str) -> dict[str, npt.NDArray[Any]]:
        ids = np.array([self._tokenizer.encode(text).ids])
        values = {_IDS: ids, _MASK: np.ones_like(ids), _TYPES: np.zeros_like(ids)}
        feed = {name: values[name].astype(_INTEGERS[kind]) for name, kind in self._inputs.items()}
        try:
            return dict(zip(outputs, self._session.run(outputs, feed), strict=True))
        except Exception as error:  # onnxruntime raises its own classes, made at run time
            raise RunError(
                f"{self._source}: the graph fails on a text of {ids.shape[1]} tokens ({first_line(error)[:200]}): give a smaller "
                "--max-tokens, or another graph"
            ) from error


def _loaded(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(path)  # with external data, which it takes only from the folder of the graph
    except Exception as error:  # of protobuf, of onnx and of the system
        raise RunError(
            f"{path}: cannot be read as an ONNX graph ({first_line(error)}): copy it again, with the files of weights beside it"
        ) from error
    if model.ByteSize() > _LARGEST:
        raise RunError(f"{path}: has {model.ByteSize() / 1e9:.1f} GB of weights, and a graph in a bundle at most 2.1")
    return model


def _session(model: onnx.ModelProto, source: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises its own classes, made at run time
        raise RunError(
            f"{source}: onnxruntime cannot run this graph ({first_line(error)[:200]}): give a plain float export of the model"
        ) from error


def _inputs(model: onnx.ModelProto, source: str) -> dict[str, int]:
    """The inputs with the types of their elements, in the order of the graph."""
    stored = {weights.name for weights in model.graph.initializer}  # old graphs list their weights among the inputs
    inputs = {value.name: value.type.tensor_type for value in model.graph.input if value.name not in stored}
    found = ", ".join(inputs) or "none"
    if not {_IDS, _MASK} <= inputs.keys() <= {_IDS, _MASK, _TYPES}:
        raise RunError(
            f"{source}: the graph has the inputs {found}; an encoder of texts takes {_IDS}, {_MASK} and perhaps {_TYPES}: "
            "give another graph"
        )
    for name, kind in inputs.items():
        fixed = [dim.dim_value for dim in kind.shape.dim if dim.HasField("dim_value")]
        if kind.elem_type not in _INTEGERS or fixed or len(kind.shape.dim) != 2:
            raise RunError(
                f"{source}: the input {name} must be of integers (n, L) for any n and L, but it is "
                f"{TensorProto.DataType.Name(kind.elem_type)} {_shape(kind)}: export the graph with dynamic axes"
            )
    return {name: kind.elem_type for name, kind in inputs.items()}


def _choose_output(trial: Mapping[str, npt.NDArray[Any]], source: str) -> str:
    """The name of a vector a text where one is called so, else of one a token, else of any vector a text.

    Args:
        trial: outputs for one text; what shape a graph says they have is often missing.
        source: for messages.
    """
    ranks = {name: values.ndim for name, values in trial.items() if values.dtype.kind == "f"}
    named = [name for name in _SENTENCE if ranks.get(name) == 2]
    tokens = sorted((name for name, rank in ranks.items() if rank == 3), key=lambda name: name != "last_hidden_state")
    pooled = [name for name, rank in ranks.items() if rank == 2]
    if chosen := (*named, *tokens, *pooled):
        return chosen[0]
    found = ", ".join(f"{name} {values.shape}" for name, values in trial.items()) or "none"
    raise RunError(
        f"{source}: the graph gives {found} for one text; an encoder gives last_hidden_state (n, L, d) or sentence_embedding "
        "(n, d): give another graph"
    )


def _shape(kind: Any) -> str:
    return f"({', '.join(dim.dim_param or str(dim.dim_value or '?') for dim in kind.shape.dim)})"


def _out_of_the_way(name: str) -> str:
    """Another name for what is called as something of ours; no two names become one."""
    return f"nearfar_inside_{name}" if name in _OURS or name.startswith("nearfar_") else name


def _make_room(graph: onnx.GraphProto) -> None:
    """Take our names from values of the graph, also where graphs inside nodes (of `If`, `Loop`) use them.

    `onnx.compose.add_prefix` would do, but leaves out weights that only an inner graph uses.
    """
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [_out_of_the_way(name) for name in values]
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                _make_room(inner)
    for named in (*graph.input, *graph.output, *graph.initializer):
        named.name = _out_of_the_way(named.name)


def _feeding(inputs: Mapping[str, int]) -> tuple[list[onnx.NodeProto], dict[str, npt.NDArray[Any]]]:
    """Nodes and constants from `ids` and `mask` to the inputs of the graph; all tokens are of the first type."""
    values = {_IDS: "ids", _MASK: "mask", _TYPES: "nearfar_types"}
    nodes = [helper.make_node("Cast", [values[name]], [name], to=kind) for name, kind in inputs.items()]
    if _TYPES not in inputs:
        return nodes, {}
    types = helper.make_node("Mul", ["ids", "nearfar_nothing"], ["nearfar_types"])
    return [types, *nodes], {"nearfar_nothing": np.array(0, np.int64)}


def _pooling(output: str, how: str | None) -> tuple[list[onnx.NodeProto], dict[str, npt.NDArray[Any]]]:
    """Nodes and constants from an output of the graph to `embedding`.

    Only operators that mean the same in every opset from 7 on. The sum over the tokens has the direction of their mean, and
    the length goes anyway.
    """
    first = helper.make_node("Cast", [output], ["nearfar_output"], to=TensorProto.FLOAT)
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, npt.NDArray[Any]] = {}
    if how == "cls":
        nodes = [helper.make_node("Gather", ["nearfar_output", "nearfar_first"], ["nearfar_pooled"], axis=1)]
        constants = {"nearfar_first": np.array(0, np.int64)}
    elif how == "mean":
        nodes = [
            helper.make_node("Cast", ["mask"], ["nearfar_present"], to=TensorProto.FLOAT),
            helper.make_node("Reshape", ["nearfar_present", "nearfar_across"], ["nearfar_weights"]),
            helper.make_node("MatMul", ["nearfar_weights", "nearfar_output"], ["nearfar_sum"]),
            helper.make_node("Reshape", ["nearfar_sum", "nearfar_flat"], ["nearfar_pooled"]),
        ]
        constants = {
            "nearfar_across": np.array([0, 1, -1], np.int64),  # (n, 1, L)
            "nearfar_flat": np.array([0, -1], np.int64),  # (n, d)
        }
    pooled = "nearfar_pooled" if nodes else "nearfar_output"
    unit = helper.make_node("LpNormalization", [pooled], ["embedding"], axis=-1, p=2)
    return [first, *nodes, unit], constants


def _forget_where_it_was_made(model: onnx.ModelProto) -> None:
    """Exporters note down paths and stack traces of somebody's machine."""
    del model.metadata_props[:]
    model.doc_string = model.graph.doc_string = ""
    for part in (*model.graph.node, *model.graph.initializer):
        part.doc_string = ""

"""A bundle's encoder on the device: text in, vectors out, through onnxruntime."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import onnxruntime

from nearfar.bundle.bundle import Bundle
from nearfar.embedder import Side
from nearfar.errors import BundleError, DataError
from nearfar.frontend.text import Ids, TextFrontend

_INPUTS = {"ids", "mask"}
_OUTPUT = "embedding"

# A tensor whose data lies outside the graph names its file under the key "location". In protobuf that key is the bytes
# of its length (8, also as an overlong varint) and of the word, whatever stands around them; eleven chance bytes of
# weights that read the same are not to be expected.
_EXTERNAL_DATA = re.compile(rb"(?:\x08|\x88\x80*\x00)location")

_TOKENS_PER_BATCH = 16_384  # bounds the memory of one run whatever the texts are
_TEXTS_PER_BLOCK = 4_096  # texts that are tokens at the same time

Vectors = npt.NDArray[np.float32]


class Encoder:
    """An `Embedder` over the graphs of a bundle.

    The graph of each tower takes `ids` and `mask`, both int64 (n, L), and gives `embedding`, float32 (n, d) with rows of
    unit length. One encoder may be used from several threads.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1, dim: int | None = None) -> None:
        """Load the graphs of `bundle`; see `open`."""
        manifest = bundle.manifest
        if threads < 1:
            raise DataError(f"threads is {threads}: give 1 or more")
        allowed = sorted({manifest.dim, *manifest.dims})
        if dim is not None and dim not in allowed:
            raise BundleError(
                f"{bundle.path}: dim {dim} was asked for, but this bundle works with {', '.join(map(str, allowed))}"
            )
        self._bundle = bundle
        self._dim = dim or manifest.dim
        name = manifest.frontend.tokenizer
        try:
            self._frontend = TextFrontend.from_bytes(bundle.read(name), manifest.frontend, name=str(bundle.path / name))
        except DataError as error:
            raise BundleError(f"{error} (in a bundle: export it again)") from error
        sessions: dict[str, onnxruntime.InferenceSession] = {}
        self._sessions: dict[Side, tuple[str, onnxruntime.InferenceSession]] = {}
        for side, tower in manifest.towers.items():
            if tower.graph not in sessions:
                sessions[tower.graph] = _open_graph(bundle, tower.graph, threads)
            self._sessions[side] = (tower.graph, sessions[tower.graph])
        self._tried: set[Side] = set()
        self._try_out("query")

    @classmethod
    def open(cls, bundle: str | Path | Bundle, *, threads: int = 1, dim: int | None = None) -> Self:
        """Open a bundle for embedding.

        Args:
            bundle: a directory, or a bundle that is already open.
            threads: CPU threads of one `embed`.
            dim: keep only so many components, one of the manifest's `dims`; the rows are brought back to unit length.

        Raises:
            BundleError: the bundle is damaged, or its graphs, vocabulary and manifest do not fit together.
        """
        return cls(bundle if isinstance(bundle, Bundle) else Bundle.open(bundle), threads=threads, dim=dim)

    @property
    def bundle(self) -> Bundle:
        """Where the encoder comes from."""
        return self._bundle

    @property
    def frontend(self) -> TextFrontend:
        """What makes tokens of text."""
        return self._frontend

    @property
    def dim(self) -> int:
        """Components of an embedding."""
        return self._dim

    def embed(self, items: Sequence[str], side: Side = "document", *, batch_size: int = 64) -> Vectors:
        """Embed texts.

        Args:
            items: n texts of any length, also empty ones.
            side: which tower and prompt to use.
            batch_size: most texts in one run of the graph; less where the texts are long. It changes speed and memory,
                not the result beyond rounding.

        Returns:
            float32 (n, d), rows of unit length, in the order of `items`.

        Raises:
            DataError: an item is not a string.
            BundleError: the graph fails on these texts.
        """
        if batch_size < 1:
            raise DataError(f"batch_size is {batch_size}: give 1 or more")
        if isinstance(items, str):
            raise DataError("got one string where a list of texts is needed: wrap it as [text]")
        self._try_out(side)
        vectors = np.empty((len(items), self._dim), dtype=np.float32)
        for start in range(0, len(items), _TEXTS_PER_BLOCK):
            rows = self._frontend.encode(items[start : start + _TEXTS_PER_BLOCK], side)
            for batch in _batches([len(row) for row in rows], batch_size):
                embedded = self._run(side, [rows[position] for position in batch])[:, : self._dim]
                if self._dim < self._bundle.manifest.dim:
                    norms = np.linalg.norm(embedded, axis=1, keepdims=True)
                    embedded = embedded / np.maximum(norms, np.finfo(np.float32).tiny)
                vectors[[start + position for position in batch]] = embedded
        return vectors

    def _run(self, side: Side, rows: Sequence[Ids]) -> Vectors:
        """Run a tower on one batch and check what comes out."""
        graph, session = self._sessions[side]
        where = self._bundle.path / graph
        ids, mask = self._frontend.pad(rows)
        try:
            (embedded,) = session.run([_OUTPUT], {"ids": ids, "mask": mask})
        except Exception as error:  # onnxruntime raises its own classes, made at run time
            raise BundleError(
                f"{where}: the graph failed on a batch of {ids.shape[0]} x {ids.shape[1]} tokens ({_short(error)}): export the bundle again"
            ) from error
        expected = (len(rows), self._bundle.manifest.dim)
        if embedded.shape != expected:
            raise BundleError(
                f"{where}: gave an embedding of shape {embedded.shape} where the manifest promises {expected}: export the bundle again"
            )
        if not np.isfinite(embedded).all():
            raise BundleError(
                f"{where}: gave embeddings that are not finite numbers: the model is broken, train it again"
            )
        vectors: Vectors = embedded
        return vectors

    def _try_out(self, side: Side) -> None:
        """Meet what does not fit (vocabulary, length, dimension, norm) before the first text goes through a tower.

        For queries that is at opening; a device that only searches never pays for the longest document.
        """
        if side in self._tried:
            return
        settings = self._frontend.settings
        longest = settings.max_query_tokens if side == "query" else settings.max_document_tokens
        rows = [np.full(length, self._frontend.vocab_size - 1, dtype=np.int32) for length in (1, longest)]
        norms = np.linalg.norm(self._run(side, rows), axis=1)
        if np.abs(norms - 1).max() > 1e-2:
            where = self._bundle.path / self._sessions[side][0]
            raise BundleError(
                f"{where}: gave rows of length {norms[0]:.3g}, but cosine bundles give unit rows: export the bundle again"
            )
        self._tried.add(side)


def _batches(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Yield positions grouped by similar length, so that little is padding, within the limits on rows and tokens."""
    batch: list[int] = []
    for position in sorted(range(len(lengths)), key=lambda position: lengths[position]):
        full = len(batch) == batch_size or (len(batch) + 1) * lengths[position] > _TOKENS_PER_BATCH
        if batch and full:
            yield batch
            batch = []
        batch.append(position)
    if batch:
        yield batch


def _open_graph(bundle: Bundle, name: str, threads: int) -> onnxruntime.InferenceSession:
    """Load one graph from verified bytes, so that nothing outside them is read."""
    where = bundle.path / name
    content = bundle.read(name)
    if not content:
        raise BundleError(f"{where}: is empty: export the bundle again")
    if _EXTERNAL_DATA.search(content):
        raise BundleError(
            f"{where}: refers to data in other files, which a bundle must not: "
            "save the graph with its weights inside (onnx.save_model(..., save_as_external_data=False))"
        )
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # a phone's battery before microseconds
    options.add_session_config_entry("session.load_model_format", "ONNX")  # or four bytes would choose another reader
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises its own classes, made at run time
        raise BundleError(
            f"{where}: not an ONNX graph that this onnxruntime can run ({_short(error)}): export the bundle again"
        ) from error
    inputs = {node.name: node for node in session.get_inputs()}
    outputs = {node.name: node for node in session.get_outputs()}
    found = f"it has inputs {_signature(inputs)} and outputs {_signature(outputs)}"
    fits = inputs.keys() == _INPUTS and all(_is(node, "tensor(int64)") for node in inputs.values())
    if not fits or _OUTPUT not in outputs or not _is(outputs[_OUTPUT], "tensor(float)"):
        raise BundleError(
            f"{where}: a tower takes ids and mask, both int64 (n, L), and gives embedding, float32 (n, d), but {found}: "
            "export the bundle again"
        )
    return session


def _is(node: Any, kind: str) -> bool:
    """Whether an input or output is a matrix of `kind`; a graph may leave the rank of an output open."""
    return node.type == kind and len(node.shape or [None, None]) == 2


def _signature(nodes: dict[str, Any]) -> str:
    return ", ".join(f"{node.name}: {node.type} {node.shape}" for node in nodes.values()) or "none"


def _short(error: Exception) -> str:
    """Return the first line of an error of onnxruntime, which may go on for pages."""
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:300]

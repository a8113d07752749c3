"""A bundle's encoder on the device: texts or pictures in, vectors out, through onnxruntime."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import onnxruntime

from nearfar.bundle.bundle import Bundle
from nearfar.embedder import Item, Side
from nearfar.errors import BundleError, DataError
from nearfar.frontend.frontend import Feed, Frontend, open_frontend

_EMBEDDING, _SCORES = "embedding", "scores"

# A tensor whose data lies outside the graph names its file under the key "location". In protobuf that key is the bytes
# of its length (8, also as an overlong varint) and of the word, whatever stands around them; eleven chance bytes of
# weights that read the same are not to be expected.
_EXTERNAL_DATA = re.compile(rb"(?:\x08|\x88\x80*\x00)location")

Vectors = npt.NDArray[np.float32]


class Encoder:
    """An `Embedder` over the graphs of a bundle.

    The graph of each tower takes what the bundle's frontend makes (`ids` and `mask` of texts, `pixels` of pictures) and gives
    `embedding`, float32 (n, d) with rows of unit length; that of a fine-tuned classifier also gives `scores`, float32
    (n, classes). One encoder may be used from several threads.
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
        try:
            self._frontend = open_frontend(manifest.frontend, bundle.read, bundle.path)
        except DataError as error:
            raise BundleError(f"{error} (in a bundle: export it again)") from error
        sessions: dict[str, onnxruntime.InferenceSession] = {}
        self._sessions: dict[Side, tuple[str, onnxruntime.InferenceSession]] = {}
        for side, tower in manifest.towers.items():
            if tower.graph not in sessions:
                scores = bool(manifest.classes) and tower == manifest.towers["document"]
                sessions[tower.graph] = _open_graph(bundle, tower.graph, threads, self._frontend, scores=scores)
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
    def frontend(self) -> Frontend:
        """What makes the inputs of the graph of raw items."""
        return self._frontend

    @property
    def dim(self) -> int:
        """Components of an embedding."""
        return self._dim

    @property
    def classes(self) -> tuple[str, ...]:
        """What `classify` tells apart; none without a classifier."""
        return self._bundle.manifest.classes

    def embed(self, items: Sequence[Item], side: Side = "document", *, batch_size: int = 64) -> Vectors:
        """Embed texts or pictures, whichever the bundle is made for.

        Args:
            items: n texts of any length, also empty ones; or n pictures, each a path, the bytes of a file, or an array
                (h, w) or (h, w, c) of uint8, uint16 or float32 in [0, 1].
            side: which tower and prompt to use.
            batch_size: most items in one run of the graph; less where they are large. It changes speed and memory, not the
                result beyond rounding.

        Returns:
            float32 (n, d), rows of unit length, in the order of `items`.

        Raises:
            DataError: an item is not a string, or not a picture that can be used.
            MissingExtraError: Pillow, which reads pictures, is not installed.
            BundleError: the graph fails on these items.
        """
        self._check(items, batch_size)
        whole = self._bundle.manifest.dim
        vectors = np.empty((len(items), self._dim), dtype=np.float32)
        for positions, rows in self._batches(items, side, batch_size, _EMBEDDING, whole):
            embedded = rows[:, : self._dim]
            if self._dim < whole:
                norms = np.linalg.norm(embedded, axis=1, keepdims=True)
                embedded = embedded / np.maximum(norms, np.finfo(np.float32).tiny)
            vectors[positions] = embedded
        return vectors

    def classify(self, items: Sequence[Item], *, batch_size: int = 64) -> Vectors:
        """How likely each class is, by the fine-tuned classifier of the bundle.

        Args:
            items: as in `embed`.
            batch_size: as in `embed`.

        Returns:
            float32 (n, classes): softmax of the scores; rows add up to 1, columns are in the order of `classes`.

        Raises:
            BundleError: the bundle has no classifier; and what `embed` raises.
        """
        if not self.classes:
            raise BundleError(
                f"{self._bundle.path}: this bundle has no classifier, only embeddings: fine-tune it with labels first"
            )
        self._check(items, batch_size)
        likely = np.empty((len(items), len(self.classes)), dtype=np.float32)
        for positions, scores in self._batches(items, "document", batch_size, _SCORES, len(self.classes)):
            powers = np.exp(scores - scores.max(axis=1, keepdims=True))
            likely[positions] = powers / powers.sum(axis=1, keepdims=True)
        return likely

    def _check(self, items: Sequence[Item], batch_size: int) -> None:
        if batch_size < 1:
            raise DataError(f"batch_size is {batch_size}: give 1 or more")
        self._frontend.check(items)

    def _batches(
        self, items: Sequence[Item], side: Side, batch_size: int, output: str, width: int
    ) -> Iterator[tuple[list[int], Vectors]]:
        """Yield positions in `items`, and for them one output (n, width) of a tower."""
        self._try_out(side)
        for positions, feed in self._frontend.feeds(items, side, batch_size):
            yield positions, self._run(side, feed, output, width)

    def _run(self, side: Side, feed: Feed, output: str, width: int) -> Vectors:
        """Run a tower on one batch and check what comes out."""
        graph, session = self._sessions[side]
        where = self._bundle.path / graph
        shape = next(iter(feed.values())).shape
        try:
            (rows,) = session.run([output], feed)
        except Exception as error:  # onnxruntime raises its own classes, made at run time
            size = " x ".join(map(str, shape))
            raise BundleError(
                f"{where}: the graph failed on a batch of {size} {self._frontend.unit} ({_short(error)}): export the bundle again"
            ) from error
        expected = (shape[0], width)
        if rows.shape != expected:
            raise BundleError(
                f"{where}: gave {output} of shape {rows.shape} where the manifest promises {expected}: export the bundle again"
            )
        if not np.isfinite(rows).all():
            raise BundleError(
                f"{where}: gave {output} values that are not finite numbers: the model is broken, train it again"
            )
        vectors: Vectors = rows
        return vectors

    def _try_out(self, side: Side) -> None:
        """Meet what does not fit (vocabulary, length, dimension, norm) before the first item goes through a tower.

        For queries that is at opening; a device that only searches never pays for the longest document.
        """
        if side in self._tried:
            return
        manifest, feed = self._bundle.manifest, self._frontend.trials(side)
        graph, _ = self._sessions[side]
        norms = np.linalg.norm(self._run(side, feed, _EMBEDDING, manifest.dim), axis=1)
        if np.abs(norms - 1).max() > 1e-2:
            raise BundleError(
                f"{self._bundle.path / graph}: gave rows of length {norms[0]:.3g}, but cosine bundles give unit rows: "
                "export the bundle again"
            )
        if self.classes and graph == manifest.towers["document"].graph:
            self._run(side, feed, _SCORES, len(self.classes))
        alike = not self._frontend.sides_differ and len({graph for graph, _ in self._sessions.values()}) == 1
        self._tried |= {"query", "document"} if alike else {side}


def _open_graph(
    bundle: Bundle, name: str, threads: int, frontend: Frontend, *, scores: bool
) -> onnxruntime.InferenceSession:
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
    wanted = frontend.inputs
    fits = inputs.keys() == wanted.keys() and all(
        _is(node, wanted[key].element, wanted[key].rank) for key, node in inputs.items()
    )
    gives = {_EMBEDDING: "float32 (n, d)", **({_SCORES: "float32 (n, classes)"} if scores else {})}
    if not fits or not all(key in outputs and _is(outputs[key], "tensor(float)", 2) for key in gives):
        promised = " and ".join(f"{key}, {kind}" for key, kind in gives.items())
        raise BundleError(
            f"{where}: a tower takes {frontend.contract}, and gives {promised}, but {found}: export the bundle again"
        )
    return session


def _is(node: Any, kind: str, rank: int) -> bool:
    """Whether an input or output is of `kind` and `rank`; a graph may leave the rank of an output open."""
    return node.type == kind and len(node.shape or [None] * rank) == rank


def _signature(nodes: dict[str, Any]) -> str:
    return ", ".join(f"{node.name}: {node.type} {node.shape}" for node in nodes.values()) or "none"


def _short(error: Exception) -> str:
    """Return the first line of an error of onnxruntime, which may go on for pages."""
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:300]

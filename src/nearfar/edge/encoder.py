"""A bundle's encoder on the device: texts, pictures, recordings, rows or windows of sensors in, vectors out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from nearfar.bundle.bundle import Bundle
from nearfar.bundle.manifest import Tower
from nearfar.edge.bundle_graph import BundleGraph
from nearfar.embedder import Item, Side
from nearfar.errors import BundleError, DataError
from nearfar.frontend.frontend import Frontend, open_frontend
from nearfar.frontend.settings import (
    AudioSettings,
    EventsSettings,
    ImageSettings,
    JointSettings,
    PairSettings,
    SeriesSettings,
    TableSettings,
    TextSettings,
)

_EMBEDDING, _SCORES = "embedding", "scores"

Vectors = npt.NDArray[np.float32]
Settings = TextSettings | ImageSettings | AudioSettings | SeriesSettings | TableSettings


class Encoder:
    """An `Embedder` over the graphs of a bundle.

    The graph of each tower takes what the bundle's frontend makes (`ids` and `mask` of texts, `pixels` of pictures) and gives
    `embedding`, float32 (n, d) with rows of unit length; that of a fine-tuned classifier also gives `scores`, float32
    (n, classes). One encoder may be used from several threads.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1, dim: int | None = None, tower: str | None = None) -> None:
        """Load the graphs of `bundle`; see `open`."""
        manifest = bundle.manifest
        if isinstance(manifest.frontend, PairSettings):
            raise BundleError(
                f"{bundle.path}: this bundle is a reranker, which scores pairs and embeds nothing: "
                "open it with Reranker.open, and give a bundle that embeds here"
            )
        if isinstance(manifest.frontend, EventsSettings):
            raise BundleError(
                f"{bundle.path}: this bundle is a recommender, which ranks items for what a user did and embeds nothing else: "
                "open it with Recommender.open (nearfar recommend), and give a bundle that embeds here"
            )
        if not manifest.towers:
            raise BundleError(
                f"{bundle.path}: this bundle is a monitor without an encoder, because plain means of its channels were as good: "
                "open it with Monitor.open, and give a bundle that embeds here"
            )
        check_dim(bundle, dim)
        self._bundle = bundle
        self._dim = dim or manifest.dim
        settings, towers = _of_tower(bundle, tower)
        try:
            self._frontend = open_frontend(settings, bundle.read, bundle.path)
        except DataError as error:
            raise BundleError(f"{error} (in a bundle: export it again)") from error
        graphs: dict[str, BundleGraph] = {}
        self._graphs: dict[Side, BundleGraph] = {}
        for side, made_for in towers.items():
            if made_for.graph not in graphs:
                scores = bool(manifest.classes) and made_for == towers["document"]
                graphs[made_for.graph] = BundleGraph(
                    bundle,
                    made_for.graph,
                    takes=self._frontend.inputs,
                    contract=self._frontend.contract,
                    gives={_EMBEDDING: ("n", "d"), **({_SCORES: ("n", "classes")} if scores else {})},
                    unit=self._frontend.unit,
                    threads=threads,
                )
            self._graphs[side] = graphs[made_for.graph]
        self._tried: set[Side] = set()
        self._try_out("query")

    @classmethod
    def open(
        cls, bundle: str | Path | Bundle, *, threads: int = 1, dim: int | None = None, tower: str | None = None
    ) -> Self:
        """Open a bundle for embedding.

        Args:
            bundle: a directory, or a bundle that is already open.
            threads: CPU threads of one `embed`.
            dim: keep only so many components, one of the manifest's `dims`; the rows are brought back to unit length.
            tower: of a bundle of several modalities, which of its towers embeds; only that one is loaded. No other bundle takes it.

        Raises:
            BundleError: the bundle is damaged, its graphs, vocabulary and manifest do not fit together, or it has no such tower.
        """
        bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        return cls(bundle, threads=threads, dim=dim, tower=tower)

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
        """Embed texts, pictures, recordings, windows of sensors or rows, whichever the bundle or its tower is made for.

        Args:
            items: n texts of any length, also empty ones; or n pictures, each a path, the bytes of a file, or an array
                (h, w) or (h, w, c) of uint8, uint16 or float32 in [0, 1]; or n recordings, each a path, the bytes of a
                file, an array (t,) at the rate of the bundle, or a pair of an array and its rate; or n rows, each a mapping
                of columns to cells.
            side: which tower and prompt to use.
            batch_size: most items in one run of the graph; less where they are large. It changes speed and memory, not the
                result beyond rounding.

        Returns:
            float32 (n, d), rows of unit length, in the order of `items`.

        Raises:
            DataError: an item is not a string, a picture or recording that can be used, or a row with a known column.
            MissingExtraError: what reads pictures (Pillow) or recordings (soundfile, soxr) is not installed.
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
            yield positions, self._graphs[side].run(feed, output, width)

    def _try_out(self, side: Side) -> None:
        """Meet what does not fit (vocabulary, length, dimension, norm) before the first item goes through a tower.

        For queries that is at opening; a device that only searches never pays for the longest document.
        """
        if side in self._tried:
            return
        manifest, feed = self._bundle.manifest, self._frontend.trials(side)
        graph = self._graphs[side]
        norms = np.linalg.norm(graph.run(feed, _EMBEDDING, manifest.dim), axis=1)
        if manifest.similarity == "cosine" and np.abs(norms - 1).max() > 1e-2:
            raise BundleError(
                f"{graph.path}: gave rows of length {norms[0]:.3g}, but cosine bundles give unit rows: "
                "export the bundle again"
            )
        if self.classes and graph is self._graphs["document"]:
            graph.run(feed, _SCORES, len(self.classes))
        alike = not self._frontend.sides_differ and self._graphs["query"] is self._graphs["document"]
        self._tried |= {"query", "document"} if alike else {side}


def check_dim(bundle: Bundle, dim: int | None) -> None:
    """Refuse a number of components that the bundle was not made for.

    Raises:
        BundleError: naming those that it was.
    """
    allowed = sorted({bundle.manifest.dim, *bundle.manifest.dims})
    if dim is not None and dim not in allowed:
        raise BundleError(
            f"{bundle.path}: dim {dim} was asked for, but this bundle works with {', '.join(map(str, allowed))}"
        )


def _of_tower(bundle: Bundle, tower: str | None) -> tuple[Settings, Mapping[Side, Tower]]:
    """The frontend of what embeds, and the graph of each side: of a tower of several modalities the same for both.

    Raises:
        BundleError: the bundle has no such tower.
    """
    manifest = bundle.manifest
    if not isinstance(manifest.frontend, JointSettings):
        if tower is not None:
            raise BundleError(
                f"{bundle.path}: tower {tower!r} was asked for, but this bundle is of kind {manifest.kind}, which embeds one kind of items: "
                "leave the tower out"
            )
        assert not isinstance(manifest.frontend, PairSettings | EventsSettings)
        return manifest.frontend, {"query": manifest.towers["query"], "document": manifest.towers["document"]}
    has = ", ".join(f"{name} ({settings.kind})" for name, settings in manifest.frontend.towers.items())
    if tower is None:
        raise BundleError(f"{bundle.path}: this bundle embeds items of several kinds: say which tower, one of {has}")
    if tower not in manifest.frontend.towers:
        raise BundleError(f"{bundle.path}: this bundle has no tower {tower!r}; choose one of {has}")
    return manifest.frontend.towers[tower], {"query": manifest.towers[tower], "document": manifest.towers[tower]}

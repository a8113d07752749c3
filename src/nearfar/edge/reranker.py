"""A bundle's cross-encoder on the device: a query and its passages in, how well each answers out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from nearfar.bundle.bundle import Bundle
from nearfar.edge.bundle_graph import BundleGraph
from nearfar.errors import BundleError, DataError
from nearfar.frontend.pairs import PairFrontend
from nearfar.frontend.settings import PairSettings

Scores = npt.NDArray[np.float32]


class Reranker:
    """Scores passages by reading each together with the query.

    Slower than comparing embeddings by orders of magnitude, and better: it is for the first few dozen candidates of a
    search. One reranker may be used from several threads.

    Source: Nogueira and Cho, Passage re-ranking with BERT, arXiv:1901.04085.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        """Load the graph of `bundle`; see `open`."""
        manifest = bundle.manifest
        if manifest.scorer is None or not isinstance(manifest.frontend, PairSettings):
            raise BundleError(
                f"{bundle.path}: this bundle is of kind {manifest.kind}, which embeds and does not score pairs: "
                "make one that does with `nearfar reranker`"
            )
        name = manifest.frontend.tokenizer
        try:
            self._frontend = PairFrontend.from_bytes(bundle.read(name), manifest.frontend, name=str(bundle.path / name))
        except DataError as error:
            raise BundleError(f"{error} (in a bundle: export it again)") from error
        self._bundle = bundle
        self._scale: Literal["logit", "free"] = manifest.scorer.scale
        self._graph = BundleGraph(
            bundle,
            manifest.scorer.graph,
            takes=self._frontend.inputs,
            contract=self._frontend.contract,
            gives={"score": ("n",)},
            unit="tokens",
            threads=threads,
        )
        self._graph.run(self._frontend.trials(), "score")  # what does not fit is met before the first query

    @classmethod
    def open(cls, bundle: str | Path | Bundle, *, threads: int = 1) -> Self:
        """Open a bundle for reranking.

        Args:
            bundle: a directory, or a bundle that is already open.
            threads: CPU threads of one `scores`.

        Raises:
            BundleError: the bundle is damaged, embeds instead of scoring pairs, or its parts do not fit together.
            DataError: `threads` is below 1.
        """
        return cls(bundle if isinstance(bundle, Bundle) else Bundle.open(bundle), threads=threads)

    @property
    def bundle(self) -> Bundle:
        """Where the reranker comes from."""
        return self._bundle

    @property
    def scale(self) -> Literal["share", "free"]:
        """What scores mean: `share`, from 0 to 1, fit for a threshold; `free`, they order the passages of one query only."""
        return "share" if self._scale == "logit" else "free"

    def scores(self, query: str, passages: Sequence[str], *, batch_size: int = 32) -> Scores:
        """How well each passage answers the query.

        Args:
            query: any text; what lies beyond the manifest's `max_query_tokens` does not count.
            passages: n texts of any length, also empty; each is cut to what the query leaves of `max_tokens`.
            batch_size: most pairs in one run of the graph; less where they are long. It changes speed and memory, not the
                result beyond rounding (of int8 graphs: a few hundredths, as their rounding depends on the batch).

        Returns:
            float32 (n,) in the order of `passages`, higher is better; from 0 to 1 where `scale` is `share`.

        Raises:
            DataError: something is not a string.
            BundleError: the graph fails on these texts.
        """
        scores = self.logits(query, passages, batch_size=batch_size)
        if self._scale == "free":
            return scores
        # The sigmoid, without the overflow of exp.
        share = 0.5 * (1.0 + np.tanh(0.5 * scores.astype(np.float64)))
        return share.astype(np.float32)

    def logits(self, query: str, passages: Sequence[str], *, batch_size: int = 32) -> Scores:
        """The same as the graph gives it, before `scores` brings it to its scale."""
        if batch_size < 1:
            raise DataError(f"batch_size is {batch_size}: give 1 or more")
        logits = np.empty(len(passages), dtype=np.float32)
        for positions, feed in self._frontend.feeds(query, passages, batch_size):
            logits[positions] = self._graph.run(feed, "score")
        return logits

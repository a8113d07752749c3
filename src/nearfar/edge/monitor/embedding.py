"""The encoder of a monitor: windows in, embeddings out, through onnxruntime. Loaded only where a detector needs it."""

from __future__ import annotations

from nearfar.bundle.bundle import Bundle
from nearfar.edge.bundle_graph import BundleGraph
from nearfar.edge.monitor.distance import Floats
from nearfar.frontend.series import SeriesFrontend
from nearfar.frontend.settings import SeriesSettings


def open_embedding(bundle: Bundle, threads: int) -> WindowEncoder:
    """The encoder of a bundle of kind `series-monitor` that has one.

    Raises:
        BundleError: its graph is damaged or does not fit the manifest.
    """
    settings = bundle.manifest.frontend
    assert isinstance(settings, SeriesSettings)
    frontend = SeriesFrontend(settings)
    graph = BundleGraph(
        bundle,
        bundle.manifest.towers["document"].graph,
        takes=frontend.inputs,
        contract=frontend.contract,
        gives={"embedding": ("n", "d")},
        unit=frontend.unit,
        threads=threads,
    )
    return WindowEncoder(graph, bundle.manifest.dim)


class WindowEncoder:
    """Embeds windows that are scaled already.

    Args:
        graph: of the bundle.
        dim: components of an embedding.
    """

    def __init__(self, graph: BundleGraph, dim: int) -> None:
        self._graph, self._dim = graph, dim

    def __call__(self, windows: Floats, present: Floats) -> Floats:
        """Embeddings float32 (n, d), not of unit length, of windows (n, T, F)."""
        return self._graph.run({"window": windows, "present": present}, "embedding", self._dim)

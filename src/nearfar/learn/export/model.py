"""A model as it stands after its steps of compression to the graphs that ship."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from nearfar.embedder import Side
from nearfar.learn.compress.model import PictureModel, TextModel
from nearfar.learn.encoders.text import TextEncoder
from nearfar.learn.export.image import export_image_graph
from nearfar.learn.export.text import export_graph


def export_text_model(model: TextModel, frequency: npt.NDArray[np.integer] | None = None) -> dict[Side, bytes]:
    """The graph of each side, in the form that the model says; only that of queries where both share a tower.

    Args:
        model: what ships.
        frequency: (v,) how many training texts have each token, where known; a table in few numbers keeps common ones closer.

    Raises:
        RunError: where a tower cannot be turned into a graph.
    """
    towers: dict[Side, TextEncoder] = {"query": model.query}
    if model.document is not model.query:
        towers["document"] = model.document
    return {
        side: export_graph(tower, dim=model.dim, quantise="none", form=model.form, frequency=frequency)
        for side, tower in towers.items()
    }


def export_picture_model(model: PictureModel, calibration: Iterable[npt.NDArray[np.float32]]) -> bytes:
    """The graph of an encoder of pictures, in the form that the model says.

    Args:
        model: what ships.
        calibration: batches (b, c, size, size) float32 in [0, 1] of training pictures; unused in float.

    Raises:
        RunError: where the encoder cannot be turned into a graph.
    """
    return export_image_graph(
        model.encoder,
        size=model.size,
        channels=model.channels,
        dim=model.dim,
        quantise="none" if model.form.format == "none" else "int8",
        calibration=calibration,
        head=model.head,
        static=model.form.static,
    )

"""The encoder of a finished bundle on the training machine: its graph and frontend as they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnxruntime

from nearfar.bundle.bundle import Bundle
from nearfar.bundle.manifest import Manifest
from nearfar.errors import BundleError, DataError, RunError
from nearfar.frontend.frontend import Frontend, open_frontend
from nearfar.frontend.settings import AudioSettings, ImageSettings, JointSettings, SeriesSettings, TableSettings
from nearfar.frontend.settings import TextSettings as Text
from nearfar.learn.reason import first_line
from nearfar.learn.towers.stored import Vectors
from nearfar.learn.towers.tower import Ints, TowerFrontend

_AT_A_TIME = 64
_KINDS: dict[str, type[TowerFrontend]] = {
    "text": Text,
    "image": ImageSettings,
    "audio": AudioSettings,
    "series": SeriesSettings,
    "table": TableSettings,
}


@dataclass(frozen=True)
class FinishedEncoder:
    """One graph of a bundle, and what prepares its items.

    Attributes:
        settings: of the frontend, both sides alike, its vocabulary named after the tower.
        files: those that the frontend needs, by the names that `settings` has for them.
        graph: the ONNX model.
        dim: components of what it gives.
    """

    settings: TowerFrontend
    files: dict[str, bytes]
    graph: bytes
    dim: int

    @classmethod
    def of(cls, path: Path, tower: str, kind: str) -> Self:
        """What a tower takes of a bundle. Of an encoder of texts that is the side of documents: what an index is made of.

        Args:
            path: of the bundle.
            tower: name of the tower, which a bundle of several towers must have too.
            kind: what the tower is for: `text`, `image`, `audio`, `series` or `table`.

        Raises:
            RunError: there is no such bundle, it is damaged, or it embeds no such items.
        """
        key = f"towers.{tower}.encoder.path"
        try:
            bundle = Bundle.open(path)
        except BundleError as error:
            raise RunError(f"{key}: {error}") from error
        manifest = bundle.manifest
        settings, graph = _parts(manifest, tower, key)
        if not isinstance(settings, _KINDS[kind]) or graph is None:
            what = "a monitor without an encoder" if graph is None else f"of kind {manifest.kind}"
            raise RunError(
                f"{key}: the bundle {path} is {what}, but the tower is for {kind}: give one that embeds such items"
            )
        if isinstance(settings, Text):
            name = f"{tower}-tokenizer.json"
            files = {name: bundle.read(settings.tokenizer)}
            settings = Text(
                tokenizer=name,
                max_query_tokens=settings.max_document_tokens,
                max_document_tokens=settings.max_document_tokens,
                query_prompt=settings.document_prompt,
                document_prompt=settings.document_prompt,
            )
        else:
            files = {}
        return cls(settings, files, bundle.read(graph), manifest.dim)

    def frontend(self) -> Frontend:
        """What makes the inputs of the graph."""
        return open_frontend(self.settings, lambda name: self.files[name], Path())

    def embedded(self, items: Sequence[Any]) -> Iterator[tuple[Ints, Vectors]]:
        """Vectors of items, in parts: their places, and float32 (b, dim).

        Raises:
            RunError: the graph cannot be run on them.
        """
        try:
            session = onnxruntime.InferenceSession(self.graph, providers=["CPUExecutionProvider"])
            for places, feed in self.frontend().feeds(items, "document", _AT_A_TIME):
                yield np.array(places, np.int64), session.run(["embedding"], feed)[0]
        except DataError:
            raise
        except Exception as error:  # onnxruntime raises its own classes, made at run time
            raise RunError(f"the graph of a bundle cannot be run on items of the tower: {first_line(error)}") from error


def _parts(manifest: Manifest, tower: str, key: str) -> tuple[Any, str | None]:
    """Settings of the frontend, and the name of the graph."""
    frontend, towers = manifest.frontend, manifest.towers
    if isinstance(frontend, JointSettings):
        if tower not in frontend.towers:
            raise RunError(
                f"{key}: the bundle has the towers {', '.join(frontend.towers)}, but none is called {tower}: rename the tower of the recipe"
            )
        return frontend.towers[tower], towers[tower].graph
    return frontend, towers["document"].graph if "document" in towers else None

"""The encoders of one bundle by tower, and which of them takes which item."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from nearfar.bundle.bundle import Bundle
from nearfar.embedder import Embedder, Item, Side
from nearfar.errors import BundleError, DataError
from nearfar.frontend.settings import AudioSettings, ImageSettings, JointSettings, SeriesSettings, TableSettings
from nearfar.sources.document import MODALITY, Document

TEXTS = ""
"""The tower of an encoder of texts alone."""

Vectors = npt.NDArray[np.float32]


class Towers:
    """What embeds the documents and queries of an index, each tower loaded by the first item that needs it.

    An encoder of several modalities has the towers of its bundle; one of texts has one without a name; one of pictures, recordings or
    rows has one that is called by its kind. Used by one thread at a time.

    Attributes:
        kinds: tower -> what it embeds: `text`, `image`, `audio`, `series` or `table`.
        dim: components of a vector.
    """

    def __init__(
        self,
        kinds: Mapping[str, str],
        dim: int,
        load: Callable[[str], Embedder],
        where: str,
        *,
        series: Mapping[str, SeriesSettings] | None = None,
    ) -> None:
        """Use some embedders; users call `of_bundle`.

        Args:
            kinds: tower -> what it embeds.
            dim: components of a vector.
            load: gives the embedder of a tower by name.
            where: of what the towers are, for messages.
            series: of towers of series, how the samples of a file become a window.
        """
        self.kinds = dict(kinds)
        self.dim = dim
        self._load = load
        self._where = where
        self._loaded: dict[str, Embedder] = {}
        self._series = dict(series or {})

    @classmethod
    def of_bundle(cls, bundle: Bundle, *, threads: int = 1, dim: int | None = None) -> Self:
        """The towers of a bundle; nothing is loaded yet.

        Args:
            bundle: what embeds.
            threads: of each encoder.
            dim: components to keep, one of the bundle's `dims`.

        Raises:
            BundleError: what the bundle gives cannot be searched.
        """
        frontend = bundle.manifest.frontend
        kinds = _kinds(bundle)

        def load(name: str) -> Embedder:
            from nearfar.edge.encoder import Encoder

            tower = name if isinstance(frontend, JointSettings) else None
            return Encoder.open(bundle, threads=threads, dim=dim, tower=tower)

        settings = frontend.towers if isinstance(frontend, JointSettings) else {}
        series = {name: one for name, one in settings.items() if isinstance(one, SeriesSettings)}
        return cls(kinds, dim or bundle.manifest.dim, load, str(bundle.path), series=series)

    @classmethod
    def of_texts(cls, embedder: Embedder) -> Self:
        """An embedder of texts as the only tower."""
        return cls({TEXTS: "text"}, embedder.dim, lambda _: embedder, "the encoder")

    @property
    def names(self) -> tuple[str, ...]:
        """The towers, in the order of the bundle."""
        return tuple(self.kinds)

    @property
    def tagged(self) -> bool:
        """Whether documents carry the name of their tower; those of an encoder of texts alone do not."""
        return TEXTS not in self.kinds

    @property
    def items(self) -> tuple[str, ...]:
        """The towers whose documents are no texts."""
        return tuple(name for name, kind in self.kinds.items() if kind != "text")

    @property
    def texts(self) -> str | None:
        """The tower of texts that name none: the first one; None where there is none."""
        return next((name for name, kind in self.kinds.items() if kind == "text"), None)

    def of_kind(self, kind: str, name: str | None = None) -> str:
        """The tower that takes items of a kind.

        Args:
            kind: `text`, `image`, `audio`, `series` or `table`.
            name: of the tower, where there may be several.

        Raises:
            DataError: there is none, or several and no name.
        """
        fitting = [tower for tower, its in self.kinds.items() if its == kind]
        if name is not None:
            self.check(name)
            if name not in fitting:
                raise DataError(
                    f"{self._where}: tower {name!r} is of {self.kinds[name]}, not of {kind}; {self._listed()}"
                )
            return name
        if not fitting:
            raise DataError(f"{self._where}: no tower takes items of kind {kind}; {self._listed()}")
        if len(fitting) > 1 and kind != "text":
            raise DataError(f"{self._where}: several towers are of {kind}: say which, one of {', '.join(fitting)}")
        return fitting[0]

    def check(self, name: str) -> None:
        """Refuse a tower that is not there.

        Raises:
            DataError: naming those that are.
        """
        if name not in self.kinds or not self.tagged:
            raise DataError(f"{self._where}: there is no tower {name!r}; {self._listed()}")

    def of_query(self, queries: Sequence[Item], name: str | None) -> str:
        """The tower that embeds some queries: the one named; the only one; else that of texts.

        Raises:
            DataError: there is no such tower, or queries that are no texts name none.
        """
        if name is not None:
            self.check(name)
            return name
        if len(self.kinds) == 1:
            return self.names[0]
        if self.texts is None or not all(isinstance(query, str) for query in queries):
            raise DataError(f"{self._where}: say which tower a query is for that is no text; {self._listed()}")
        return self.texts

    def placed(self, document: Document) -> Document:
        """A document with its tower, which its metadata say, too.

        Raises:
            DataError: there is no such tower, or it takes no such document.
        """
        name = document.modality or self._default(document)
        if name not in self.kinds:
            raise DataError(f"{document.id!r}: there is no tower {name!r}; {self._listed()}")
        if self.kinds[name] == "text" and document.item is not None:
            raise DataError(f"{document.id!r}: a text is given as the text of a document; {self._listed()}")
        if self.kinds[name] != "text" and document.item is None:
            raise DataError(f"{document.id!r}: has no item for a tower of {self.kinds[name]}: give Document(item=...)")
        if not self.tagged:
            return document
        return replace(document, modality=name, metadata={**document.metadata, MODALITY: name})

    def embed(self, name: str, items: Sequence[Item], side: Side = "document") -> Vectors:
        """Embed items by one tower; of series also the paths of files.

        Returns:
            float32 (n, dim).

        Raises:
            DataError: an item cannot be used.
            MissingExtraError: what reads such items is not installed.
            BundleError: the tower is damaged.
        """
        if name in self._series:
            from nearfar.edge.items.series_item import as_window

            items = [as_window(item, self._series[name]) for item in items]
        return self.load(name).embed(items, side=side)

    def embed_each(self, name: str, items: Sequence[Item]) -> list[npt.NDArray[np.float32] | DataError]:
        """The vector (dim,) of each of some items of an index, or why it cannot be used."""
        try:
            return list(self.embed(name, items))
        except DataError as error:
            if self.kinds[name] == "text":
                raise
            if len(items) == 1:
                return [error]
        found: list[npt.NDArray[np.float32] | DataError] = []
        for item in items:
            try:
                found.append(self.embed(name, [item])[0])
            except DataError as error:
                found.append(error)
        return found

    def load(self, name: str) -> Embedder:
        """The embedder of a tower, loaded if it is not yet.

        Raises:
            BundleError: it is damaged.
        """
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def _default(self, document: Document) -> str:
        if len(self.kinds) == 1:
            return self.names[0]
        if document.item is not None:
            raise DataError(
                f"{document.id!r}: say which tower its item is for: Document(modality=...); {self._listed()}"
            )
        if self.texts is None:
            raise DataError(f"{document.id!r}: is a text, and no tower takes texts; {self._listed()}")
        return self.texts

    def _listed(self) -> str:
        if not self.tagged:
            return "this bundle is of texts alone, and has no towers to choose from"
        return "it has " + ", ".join(f"{name} ({kind})" for name, kind in self.kinds.items())


def opened_towers(bundle: Bundle, *, threads: int | None = None, dim: int | None = None) -> Towers:
    """The towers of a bundle for writing an index; the only one of a bundle is loaded, so that what is wrong with it is met first.

    Args:
        bundle: what embeds.
        threads: all processors by default.
        dim: components to keep.

    Raises:
        BundleError: it is damaged, what it gives cannot be searched, or it has no such `dim`.
    """
    from nearfar.edge.encoder import check_dim

    check_dim(bundle, dim)
    towers = Towers.of_bundle(bundle, threads=threads or os.cpu_count() or 1, dim=dim)
    if len(towers.names) == 1:
        towers.load(towers.names[0])
    return towers


def _kinds(bundle: Bundle) -> dict[str, Any]:
    """Tower -> what it embeds.

    Raises:
        BundleError: the bundle embeds nothing that could be searched by cosine.
    """
    manifest = bundle.manifest
    frontend = manifest.frontend
    if isinstance(frontend, JointSettings):
        return {name: settings.kind for name, settings in frontend.towers.items()}
    if frontend.kind == "text":
        return {TEXTS: "text"}
    if isinstance(frontend, ImageSettings | AudioSettings | TableSettings) and manifest.similarity == "cosine":
        return {frontend.kind: frontend.kind}
    if frontend.kind in ("text-pair", "events"):
        from nearfar.edge.encoder import Encoder

        Encoder.open(bundle)  # says what to open it with
    other = {
        "series": "watch a machine with nearfar monitor",
        "table": "find like rows with nearfar similar",
    }.get(frontend.kind, "embed the items with nearfar.edge.Encoder and compare their vectors")
    raise BundleError(
        f"{bundle.path}: this bundle is of kind {manifest.kind}, whose vectors are not compared by cosine, and an index does that: give the "
        f"bundle of an encoder of texts, pictures, recordings or several modalities, or {other}"
    )

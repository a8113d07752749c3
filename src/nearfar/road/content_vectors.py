"""Pictures and texts of items through the bundles that a recipe names for them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nearfar.errors import BundleError
from nearfar.frontend.item_error import ItemError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nearfar.edge.encoder import Encoder
    from nearfar.learn.data.item_content import Embed
    from nearfar.recipe.events import ItemContent
    from nearfar.sources.item_table import ItemRow

_KINDS: Final = {"image": "image-encoder", "text": "text-dual-encoder"}
_AT_A_TIME: Final = 256


def embed_content(items: ItemContent | None) -> Embed | None:
    """What makes vectors of items by other bundles.

    Args:
        items: the recipe's block on them.

    Returns:
        A function of what is embedded, `image` or `text`, and the items; None where no bundle is named. It raises BundleError where
        a bundle is damaged, or embeds something else, and ItemError where a picture cannot be used.
    """
    if items is None or (items.image_bundle is None and items.text_bundle is None):
        return None
    bundles = {"image": items.image_bundle, "text": items.text_bundle}

    def embed(kind: str, rows: Sequence[ItemRow]) -> npt.NDArray[np.float32]:
        import numpy as np

        path = bundles[kind]
        assert path is not None  # nobody asks for vectors of a bundle that is not named
        encoder = _open(path, kind)
        found = np.zeros((len(rows), encoder.dim), np.float32)
        there = [place for place, row in enumerate(rows) if (_words(row) if kind == "text" else row.image is not None)]
        for start in range(0, len(there), _AT_A_TIME):
            some = there[start : start + _AT_A_TIME]
            found[some] = _embedded(encoder, kind, [rows[place] for place in some])
        return found

    return embed


def _embedded(encoder: Encoder, kind: str, rows: Sequence[ItemRow]) -> npt.NDArray[np.float32]:
    """Vectors (n, d) of items; a picture that cannot be used is told by the row that it is of."""
    if kind == "text":
        return encoder.embed([_words(row) for row in rows])
    try:
        return encoder.embed([row.image for row in rows])
    except ItemError:
        for row in rows:  # the encoder knows only its place among these
            try:
                encoder.embed([row.image])
            except ItemError as error:
                raise type(error)(error.reason, error.detail, f"{row.location}: the picture of {row.name}") from error
        raise


def _words(row: ItemRow) -> str:
    """Title and texts of an item, a line each."""
    return "\n".join(text for text in (row.title, *row.texts.values()) if text.strip())


def _open(path: Path, kind: str) -> Encoder:
    from nearfar.bundle import Bundle
    from nearfar.edge.encoder import Encoder

    bundle = Bundle.open(path)
    if bundle.manifest.kind != _KINDS[kind]:
        raise BundleError(
            f"{path}: is of kind {bundle.manifest.kind}, but data.source.items.{kind}_bundle must be of kind {_KINDS[kind]}: name "
            "another bundle there"
        )
    return Encoder.open(bundle, threads=os.cpu_count() or 1)

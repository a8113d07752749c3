"""Pictures and texts of items through the bundles that a recipe names for them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nearfar.errors import BundleError

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
        a bundle is damaged, or embeds something else.
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
            found[some] = encoder.embed([_words(rows[p]) if kind == "text" else rows[p].image for p in some])
        return found

    return embed


def _words(row: ItemRow) -> str:
    """Title and texts of an item, a line each."""
    return "\n".join(text for text in (row.title, *row.texts.values()) if text.strip())


def _open(path: Path, kind: str) -> Encoder:
    from nearfar.bundle import Bundle
    from nearfar.edge.encoder import Encoder

    bundle = Bundle.open(path)
    if bundle.manifest.kind != _KINDS[kind]:
        raise BundleError(
            f"{path}: is of kind {bundle.manifest.kind}, but data.source.items.{kind}_bundle must be a {_KINDS[kind]}: name another "
            "bundle there"
        )
    return Encoder.open(bundle, threads=os.cpu_count() or 1)

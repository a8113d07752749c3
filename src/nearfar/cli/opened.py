"""An index that a person names: a folder, or one on a server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nearfar.connect import ServerIndex
    from nearfar.edge import SearchIndex


def open_named(name: str, bundle: Path | None) -> SearchIndex | ServerIndex:
    """Open the folder or the address of an index.

    Args:
        name: a path, or an address such as `qdrant://host:6333/collection`.
        bundle: of an index on a server: what embeds the queries.

    Raises:
        DataError: an address without a bundle.
        StoreError: there is no such index, or it cannot be read.
    """
    from nearfar.connect import is_address, open_index
    from nearfar.errors import DataError

    if not is_address(name):
        from nearfar.edge import SearchIndex

        return SearchIndex.open(name)
    if bundle is None:
        raise DataError(
            f"{name}: an index on a server has no bundle beside it; give the one it was made with: --bundle"
        )
    return open_index(name, bundle=bundle)

"""What bundles of other people's models have in common: a name, where they come from, and being tried before they ship."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nearfar.road.provenance import installed_versions

if TYPE_CHECKING:
    from nearfar.bundle import Provenance


def name_of(source: str) -> str:
    """The last part of the path or hub name of a model; of a file, the name of its folder."""
    path = Path(source)
    if path.is_file():
        path = path.resolve().parent
        return (path.parent if path.name == "onnx" else path).name
    return path.resolve().name if path.is_dir() else source.rpartition("/")[2]


def imported_provenance(made_of: Mapping[str, Any], **stated: Any) -> Provenance:
    """Where a bundle comes from.

    Args:
        made_of: source and choices; stands in the manifest as its recipe.
        stated: further entries, about a training that came after.
    """
    from nearfar.bundle import Provenance

    recipe = json.dumps(made_of, sort_keys=True)
    try:
        loader = {"transformers": importlib.metadata.version("transformers")}
    except importlib.metadata.PackageNotFoundError:  # a graph does without
        loader = {}
    return Provenance(
        recipe=dict(made_of),
        recipe_sha256=hashlib.sha256(recipe.encode()).hexdigest(),
        versions=installed_versions() | loader,
        **({"data_fingerprint": "not known: trained elsewhere"} | stated),
    )

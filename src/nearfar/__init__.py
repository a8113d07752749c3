"""nearfar: contrastive learning on your own data, and private search with the result on your own device.

The names below are imported on first use: `import nearfar` itself loads neither numpy nor onnxruntime nor torch.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# onnxruntime 1.31 writes a device id for its telemetry into the home folder as soon as it is imported; only this, said
# before, prevents it. Nothing of what runs here is anybody else's business.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from nearfar.bundle import Bundle
    from nearfar.edge import Alarm, Encoder, Event, Monitor, Recommender, SearchIndex
    from nearfar.errors import NearfarError
    from nearfar.recipe import Recipe, load_recipe
    from nearfar.road import Run, train
    from nearfar.sources import Document, open_documents

_HOME = {
    "Alarm": "nearfar.edge",
    "Bundle": "nearfar.bundle",
    "Document": "nearfar.sources",
    "Encoder": "nearfar.edge",
    "Event": "nearfar.edge",
    "Monitor": "nearfar.edge",
    "NearfarError": "nearfar.errors",
    "Recipe": "nearfar.recipe",
    "Recommender": "nearfar.edge",
    "Run": "nearfar.road",
    "SearchIndex": "nearfar.edge",
    "load_recipe": "nearfar.recipe",
    "open_documents": "nearfar.sources",
    "train": "nearfar.road",
}

__all__ = [
    "Alarm",
    "Bundle",
    "Document",
    "Encoder",
    "Event",
    "Monitor",
    "NearfarError",
    "Recipe",
    "Recommender",
    "Run",
    "SearchIndex",
    "__version__",
    "load_recipe",
    "open_documents",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'nearfar' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__

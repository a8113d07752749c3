"""The device: run a bundle, keep documents, answer queries. No torch, and nothing is loaded before it is used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nearfar.edge.build import BuildReport
    from nearfar.edge.collections.classify import Classifier
    from nearfar.edge.edit import IndexEditor
    from nearfar.edge.encoder import Encoder
    from nearfar.edge.fusion import FEATURES, fit_fusion, fuse
    from nearfar.edge.hit import Hit
    from nearfar.edge.monitor.events import Alarm
    from nearfar.edge.monitor.monitor import Monitor
    from nearfar.edge.rag.retrieve import retrieve
    from nearfar.edge.recommend.answers import Event
    from nearfar.edge.recommend.recommender import Recommender
    from nearfar.edge.reranker import Reranker
    from nearfar.edge.search import Mode, SearchIndex
    from nearfar.edge.verify.verifier import Verifier
    from nearfar.edge.zero_shot import ZeroShot

_HOMES = {
    "Alarm": "monitor.events",
    "BuildReport": "build",
    "Classifier": "collections.classify",
    "Encoder": "encoder",
    "Event": "recommend.answers",
    "FEATURES": "fusion",
    "Hit": "hit",
    "IndexEditor": "edit",
    "Mode": "search",
    "Monitor": "monitor.monitor",
    "Recommender": "recommend.recommender",
    "Reranker": "reranker",
    "SearchIndex": "search",
    "Verifier": "verify.verifier",
    "ZeroShot": "zero_shot",
    "fit_fusion": "fusion",
    "fuse": "fusion",
    "retrieve": "rag.retrieve",
}

__all__ = [
    "FEATURES",
    "Alarm",
    "BuildReport",
    "Classifier",
    "Encoder",
    "Event",
    "Hit",
    "IndexEditor",
    "Mode",
    "Monitor",
    "Recommender",
    "Reranker",
    "SearchIndex",
    "Verifier",
    "ZeroShot",
    "fit_fusion",
    "fuse",
    "retrieve",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

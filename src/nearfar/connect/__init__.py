"""Servers, for when one machine is not enough: put an index on Qdrant or PostgreSQL, and search it there."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nearfar.connect.address import is_address
    from nearfar.connect.index import ServerIndex, open_index
    from nearfar.connect.transfer import PushReport, push

_HOMES = {
    "PushReport": "transfer",
    "ServerIndex": "index",
    "is_address": "address",
    "open_index": "index",
    "push": "transfer",
}

__all__ = ["PushReport", "ServerIndex", "is_address", "open_index", "push"]


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

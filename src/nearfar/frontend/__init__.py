"""Raw item to model input, the same code in training and on the device; nothing is loaded before it is used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nearfar.frontend.audio import AudioError, AudioFrontend
    from nearfar.frontend.decoding import PictureError
    from nearfar.frontend.events import EventsFrontend
    from nearfar.frontend.frontend import Frontend, GraphInput, open_frontend
    from nearfar.frontend.grid import Frames, Grid
    from nearfar.frontend.image import ImageFrontend
    from nearfar.frontend.pairs import PairFrontend
    from nearfar.frontend.series import SeriesFrontend
    from nearfar.frontend.settings import (
        AudioSettings,
        EventsSettings,
        ImageSettings,
        JointSettings,
        PairSettings,
        SeriesSettings,
        TableSettings,
        TextSettings,
    )
    from nearfar.frontend.table import TableFrontend
    from nearfar.frontend.text import TextFrontend

_HOMES = {
    "AudioError": "audio",
    "AudioFrontend": "audio",
    "AudioSettings": "settings",
    "EventsFrontend": "events",
    "EventsSettings": "settings",
    "Frames": "grid",
    "Frontend": "frontend",
    "GraphInput": "frontend",
    "Grid": "grid",
    "ImageFrontend": "image",
    "ImageSettings": "settings",
    "JointSettings": "settings",
    "PairFrontend": "pairs",
    "PairSettings": "settings",
    "PictureError": "decoding",
    "SeriesFrontend": "series",
    "SeriesSettings": "settings",
    "TableFrontend": "table",
    "TableSettings": "settings",
    "TextFrontend": "text",
    "TextSettings": "settings",
    "open_frontend": "frontend",
}

__all__ = [
    "AudioError",
    "AudioFrontend",
    "AudioSettings",
    "EventsFrontend",
    "EventsSettings",
    "Frames",
    "Frontend",
    "GraphInput",
    "Grid",
    "ImageFrontend",
    "ImageSettings",
    "JointSettings",
    "PairFrontend",
    "PairSettings",
    "PictureError",
    "SeriesFrontend",
    "SeriesSettings",
    "TableFrontend",
    "TableSettings",
    "TextFrontend",
    "TextSettings",
    "open_frontend",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

"""Raw item to model input, the same code in training and on the device."""

from nearfar.frontend.settings import TextSettings
from nearfar.frontend.text import TextFrontend

__all__ = ["TextFrontend", "TextSettings"]

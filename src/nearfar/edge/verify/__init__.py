"""Who is it: enrolment, verification and identification on the device, against sealed templates."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nearfar.edge.verify.decision import Decision, Enrolment, Identification
    from nearfar.edge.verify.verifier import Verifier

_HOMES = {"Decision": "decision", "Enrolment": "decision", "Identification": "decision", "Verifier": "verifier"}

__all__ = ["Decision", "Enrolment", "Identification", "Verifier"]


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

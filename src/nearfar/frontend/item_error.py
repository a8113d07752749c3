"""Why one item cannot be used."""

from __future__ import annotations

from typing import Self

from nearfar.errors import DataError


class ItemError(DataError):
    """One item cannot be used; who reads many may count by `reason` and go on.

    Attributes:
        reason: one of a few.
        detail: about this item; may be empty.
        name: which item; empty until somebody knows.
    """

    def __init__(self, reason: str, detail: str = "", name: str = "") -> None:
        what = f"{reason} ({detail})" if detail else reason
        super().__init__(f"{name}: {what}" if name else what)
        self.reason, self.detail, self.name = reason, detail, name

    def __reduce__(self) -> tuple[type[Self], tuple[str, str, str]]:
        return type(self), (self.reason, self.detail, self.name)

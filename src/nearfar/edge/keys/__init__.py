"""The key of data that is encrypted at rest, and the ladder of places that keep it: see `ladder`."""

from nearfar.edge.keys.key import Key, Purpose
from nearfar.edge.keys.ladder import (
    KeyStatus,
    change_passphrase,
    create_key,
    has_key,
    key_if_any,
    key_status,
    move_key,
    open_key,
)
from nearfar.edge.keys.passphrase import Ask, ask_at_terminal

__all__ = [
    "Ask",
    "Key",
    "KeyStatus",
    "Purpose",
    "ask_at_terminal",
    "change_passphrase",
    "create_key",
    "has_key",
    "key_if_any",
    "key_status",
    "move_key",
    "open_key",
]

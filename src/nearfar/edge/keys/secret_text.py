"""How a secret is written where only text is kept, and where people make it with their own tools."""

from __future__ import annotations

from nearfar.edge.keys.key import KEY_BYTES
from nearfar.errors import KeyUnavailableError


def parse_secret(data: bytes, place: str) -> bytes:
    """The 32 bytes of a secret that was kept as they are, or as 64 hexadecimal digits.

    Args:
        data: what was kept; white space around the digits does not matter.
        place: for the message.

    Raises:
        KeyUnavailableError: it is neither; the message does not repeat it.
    """
    if len(data) == KEY_BYTES:
        return data
    try:
        secret = bytes.fromhex(data.decode("ascii"))
    except ValueError:
        secret = b""
    if len(secret) != KEY_BYTES:
        # Without `from`: the errors of decoding quote a part of what they could not decode.
        raise KeyUnavailableError(
            f"{place}: holds {len(data)} bytes that are no key; a key is {KEY_BYTES} random bytes or "
            f"{2 * KEY_BYTES} hexadecimal digits, as made by: openssl rand -hex {KEY_BYTES}"
        )
    return secret

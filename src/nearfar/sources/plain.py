"""From the bytes of a file to text that every later step can store: decoded strictly, nothing guessed."""

from __future__ import annotations

import codecs
from pathlib import Path

# Longest mark first: the one of UTF-32 begins with the one of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)


class UnreadableError(Exception):
    """A file holds no text that can be used; `reason` is one of a few, `detail` is about this file."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


def encoding_of(start: bytes) -> tuple[str, str]:
    """Return the codec for a file that starts with these bytes, and its name: by byte order mark, else UTF-8."""
    for mark, codec, name in _MARKS:
        if start.startswith(mark):
            return codec, name
    return "utf-8", "UTF-8"


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """Read a regular file whole.

    Raises:
        UnreadableError: larger than `max_bytes`, or the system refuses.
    """
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise UnreadableError("cannot be read", error.strerror or type(error).__name__) from None
    if len(data) > max_bytes:
        raise UnreadableError(f"larger than {max_bytes / 1e6:g} MB")
    return data


def decode(data: bytes) -> str:
    r"""Return the text of a file with `\n` as the only line end.

    Args:
        data: UTF-8, or UTF-16 or UTF-32 with a byte order mark.

    Raises:
        UnreadableError: empty, binary, or not in its encoding.
    """
    codec, name = encoding_of(data)
    if name == "UTF-8" and b"\0" in data:
        raise UnreadableError("binary (NUL bytes)")
    try:
        text = data.decode(codec)
    except UnicodeDecodeError as error:
        # The codecs with "sig" count from behind the mark.
        offset = error.start + (3 if codec == "utf-8-sig" else 0)
        raise UnreadableError(f"not {name}", f"first bad byte 0x{data[offset]:02x} at offset {offset}") from None
    if "\0" in text:
        raise UnreadableError("binary (NUL bytes)")
    if not text.strip():
        raise UnreadableError("empty file")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def storable(text: str) -> str:
    r"""Return `text` with lone surrogates (which `"\ud800"` in JSON or Python makes) as U+FFFD: no encoding can hold them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text

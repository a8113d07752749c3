"""Strings that Python allows and UTF-8 does not."""

from __future__ import annotations


def without_surrogates(text: str) -> str:
    """Return `text` with surrogate pairs joined and lone surrogates replaced by U+FFFD.

    JSON and file names can bring half a character into a Python string; the tokenizer, SQLite and UTF-8 refuse it.
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
